# What each attribute is in nixpkgs says tests/nix/attributes.txt. Each use is traced, so that a test knows them all.
system:
let
  # Trees that tests/nix/stand_in.py has put into the Nix store, by hash: nothing ever builds them.
  tree =
    name: hash:
    derivation {
      inherit name system;
      builder = "builtin:none";
      outputHashMode = "recursive";
      outputHashAlgo = "sha256";
      outputHash = hash;
    };
  trees = builtins.mapAttrs tree (builtins.fromJSON (builtins.readFile ./tools.json));
  shell = "${trees.tools}/bin/bash";

  run =
    name: environment: script:
    derivation (
      {
        inherit name system;
        builder = shell;
        args = [
          "-euc"
          script
        ];
        PATH = "${trees.tools}/bin";
      }
      // environment
    );

  # A derivation that can be changed after the fact, as those of mkDerivation can.
  overridable =
    arguments: derivation arguments // { overrideAttrs = change: overridable (arguments // change arguments); };

  # An interpreter that is started through its own linker. It is told its name, or it could not start itself again, and
  # pyvenv.cfg where its library is (both as for a virtual environment, PEP 405).
  interpreter =
    name: site:
    run name { } ''
      mkdir -p $out/bin $out/lib/python3.11
      echo "home = ${trees.tools}/usr/bin" > $out/pyvenv.cfg
      ${site}
      { echo '#!${shell}'
        echo 'exec ${trees.tools}/linker --argv0 "$0" --library-path ${trees.tools}/libraries ${trees.tools}/python "$@"'
      } > $out/bin/python3
      chmod +x $out/bin/python3
    '';
  python3 = interpreter "python3-stand-in" "";
  # Every package of the host's environment, whatever was asked for; but a name that nixpkgs lacks fails.
  withPackages =
    choose:
    builtins.deepSeq (map (package: package.pname) (choose pythonPackages)) (
      interpreter "python3-stand-in-env" "ln -s ${trees.site} $out/lib/python3.11/site-packages"
    );
  pythonPackages = builtins.listToAttrs (
    map (name: {
      inherit name;
      value = builtins.trace "uses python3.pkgs.${name}" { pname = name; };
    }) (builtins.fromJSON (builtins.readFile ./python-packages.json))
  );

  fetchurl =
    {
      url,
      sha256,
      name ? baseNameOf url,
      ...
    }:
    overridable {
      inherit name system url;
      builder = shell;
      args = [
        "-c"
        ''
          trap '[ $? = 0 ] || eval "$failureHook"' EXIT
          set -e
          case $url in
            http://127.0.0.1*) ${python3}/bin/python3 -c 'import sys, urllib.request as u; open(sys.argv[2], "wb").write(u.urlopen(sys.argv[1]).read())' "$url" "$out" ;;
            *) echo "error: cannot download $name from any mirror" >&2; exit 1 ;;
          esac
        ''
      ];
      PATH = "${trees.tools}/bin";
      outputHashMode = "flat";
      outputHashAlgo = "sha256";
      outputHash = sha256;
    };

  fetchPypi =
    {
      pname,
      version,
      format,
      dist,
      python,
      abi,
      platform,
      sha256,
    }:
    assert format == "wheel";
    fetchurl {
      url = "mirror://index/${dist}/${pname}/${pname}-${version}-${python}-${abi}-${platform}.whl";
      inherit sha256;
    };

  writeShellScriptBin =
    name: text:
    run name
      {
        inherit text;
        passAsFile = [ "text" ];
      }
      ''
        mkdir -p $out/bin
        { printf '#!%s\n' ${shell}; cat "$textPath"; } > $out/bin/${name}
        chmod +x $out/bin/${name}
      '';

  mkShellNoCC =
    { packages }:
    run "nix-shell" {
      inherit packages;
      outputs = [ "out" ]; # what Nix writes the environment to
      shellHook = "for each in $packages; do PATH=$each/bin:$PATH; done";
    } "mkdir $out";

  attributes = {
    inherit fetchPypi fetchurl mkShellNoCC writeShellScriptBin;
    cacert = run "cacert-stand-in" { } "mkdir -p $out/etc/ssl/certs; : > $out/etc/ssl/certs/ca-bundle.crt";
    nixfmt-tree = writeShellScriptBin "treefmt" "echo 'the stand-in formats nothing'";
    python3 = python3 // {
      withPackages = builtins.trace "uses python3.withPackages" withPackages;
    };
  };
in
builtins.mapAttrs (name: builtins.trace "uses ${name}") attributes
// {
  # Nix's own: what `nix develop` starts.
  bashInteractive = run "bash-stand-in" { } "mkdir -p $out/bin; cp ${shell} $out/bin/bash";
}
