# An image of one's own: `reprise lock mine` writes locks/mine from containers/images/mine.toml, `nix build` builds it,
# and `reprise train run.toml --layout result` trains in it.
{
  inputs.reprise.url = "github:OWNER/reprise"; # where you have it from

  outputs =
    { reprise, ... }:
    {
      packages.x86_64-linux.default = reprise.lib.mkImage {
        lock = ./locks/mine;
        environment = ./containers/images/mine.toml;
        trainer = ./trainer/reprise_trainer;
      };
    };
}
