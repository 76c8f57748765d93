# A stand-in for nixpkgs, for machines that can't reach it: the attributes that our Nix code uses, made from the tools of
# the machine. tests/nix copies this folder, adds tools.json, and gives it to `--override-input nixpkgs`.
{
  outputs =
    { self }:
    {
      legacyPackages.x86_64-linux = import ./packages.nix "x86_64-linux";
      legacyPackages.aarch64-linux = import ./packages.nix "aarch64-linux";
    };
}
