# Locked artifact → fixed-output derivation with the lock's own sha256, flat: a file that is at hand goes into the Nix
# store by that hash (`reprise fetch --nix`), and nothing is fetched.
#
# No registry's host stands here: nixpkgs knows Debian's mirrors and the index of Python packages, the environment's
# TOML its own places, a conda lock its channels.
#
# An artifact is { type, fileName, sha256, location }, as lock.nix reads it.
{
  pkgs,
  findLinks,
  builder,
  imageCode,
}:
let
  inherit (builtins) elemAt match;
  storeName = import ./names.nix;

  # Seen where an artifact can't be had, after the fetcher's own last words (nixpkgs, pkgs/stdenv/generic/setup.sh).
  advised =
    artifact: fetched:
    fetched.overrideAttrs (_: {
      failureHook = ''
        echo "error: ${artifact.fileName} could not be fetched. Is there a network?" >&2
        echo "If reprise has it in its own store: reprise fetch --nix ENVIRONMENT" >&2
      '';
    });

  # {distribution}-{version}-{python}-{abi}-{platform}.whl (packaging.python.org, "Binary distribution format")
  tags = artifact: match "([^-]+)-([^-]+)-([^-]+)-([^-]+)-([^-]+)[.]whl" artifact.fileName;

  # The index has no local versions ("+cpu"), and fetchPypi no argument for a build number.
  isNamed = artifact: tags artifact != null && match ".*[+!].*" artifact.fileName == null;

  fromIndex =
    artifact:
    let
      tag = elemAt (tags artifact);
    in
    pkgs.fetchPypi {
      pname = tag 0;
      version = tag 1;
      format = "wheel";
      dist = tag 2;
      python = tag 2;
      abi = tag 3;
      platform = tag 4;
      inherit (artifact) sha256;
    };

  fromPip =
    artifact:
    builder {
      name = storeName artifact.fileName;
      python = pkgs.python3.withPackages (python: [ python.pip ]);
      job = {
        make = "wheel";
        inherit (artifact) fileName;
        inherit findLinks;
        certificates = "${pkgs.cacert}/etc/ssl/certs/ca-bundle.crt";
      };
      code = imageCode;
      fixed = artifact.sha256;
    };

  fromUrl =
    url: artifact:
    pkgs.fetchurl {
      name = storeName artifact.fileName;
      inherit url;
      inherit (artifact) sha256;
    };
in
artifact:
{
  deb = advised artifact (fromUrl "mirror://debian/${artifact.location}" artifact);
  conda = advised artifact (fromUrl artifact.location artifact);
  pypi = if isNamed artifact then advised artifact (fromIndex artifact) else fromPip artifact;
}
.${artifact.type}
