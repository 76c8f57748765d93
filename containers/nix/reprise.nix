# The `reprise` command, from nixpkgs' Python and its packages: those that pyproject.toml names, and pip, which
# `reprise fetch` asks for artifacts.
{ pkgs, root }:
let
  inherit (builtins)
    fromTOML
    head
    match
    readFile
    ;
  project = (fromTOML (readFile (root + "/pyproject.toml"))).project;
  named = requirement: head (match "([A-Za-z0-9-]+).*" requirement);
  python = pkgs.python3.withPackages (
    packages: map (requirement: packages.${named requirement}) project.dependencies ++ [ packages.pip ]
  );
  code =
    package:
    builtins.path {
      path = root + "/${package}";
      name = "reprise-code";
      filter = file: _: match ".*/__pycache__(/.*)?|.*[.]pyc" file == null;
    };
in
{
  inherit python;
  command = pkgs.writeShellScriptBin "reprise" ''
    exec ${python}/bin/python3 -IBc '
    import sys
    sys.path[:0] = ["${code "containers"}", "${code "trainer"}"]
    sys.argv[0] = "reprise"
    from reprise.cli.main import main
    main()
    ' "$@"
  '';
}
