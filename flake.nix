{
  description = "The same lock gives the same image, and the same run gives the same weights";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }: import ./containers/nix { inherit self nixpkgs; };
}
