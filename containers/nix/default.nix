# The flake's outputs.
{ self, nixpkgs }:
let
  inherit (builtins)
    attrNames
    filter
    listToAttrs
    map
    match
    pathExists
    readDir
    ;
  builtOn = "x86_64-linux";
  systems = [
    builtOn
    "aarch64-linux"
  ];
  # Attributes from names: { name = value name; … }
  each =
    names: value:
    listToAttrs (
      map (name: {
        inherit name;
        value = value name;
      }) names
    );
  renamed =
    prefix: attributes:
    listToAttrs (
      map (name: {
        name = "${prefix}${name}";
        value = attributes.${name};
      }) (builtins.attrNames attributes)
    );

  packagesOf = system: nixpkgs.legacyPackages.${system};
  repriseOf =
    system:
    import ./reprise.nix {
      pkgs = packagesOf system;
      root = self;
    };
  mkImage =
    {
      system ? builtOn,
      ...
    }@arguments:
    import ./image.nix {
      inherit system;
      pkgs = packagesOf system;
      root = self;
    } (removeAttrs arguments [ "system" ]);

  # One for each folder in locks/, and one for each environment that has none yet.
  locked = builtins.attrNames (readDir (self + "/locks"));
  written = map builtins.head (
    filter (name: name != null) (map (match "(.*)[.]toml") (builtins.attrNames (readDir (self + "/containers/images"))))
  );
  lockFolder = environment: self + "/locks/${environment}";
  images = each locked (
    environment:
    mkImage {
      lock = lockFolder environment;
      environment = self + "/containers/images/${environment}.toml";
    }
  );
  unlocked = each (filter (environment: !pathExists (lockFolder environment)) written) (
    environment: throw "reprise: environment ${environment} is not locked. Write its lock with: reprise lock ${environment}"
  );

  # The data of the examples that train in an environment.
  examples = filter (name: match ".*[.]toml" name != null) (builtins.attrNames (readDir (self + "/examples")));
  dataFor =
    environment:
    let
      configurations = map (name: builtins.fromTOML (builtins.readFile (self + "/examples/${name}"))) examples;
      own = filter (
        configuration: configuration.run.environment or "" == environment && configuration ? data.path
      ) configurations;
    in
    map (configuration: {
      type = "deb";
      inherit (configuration.data) sha256;
      location = configuration.data.path;
      fileName = baseNameOf configuration.data.path;
    }) own;

  app = description: program: {
    type = "app";
    inherit program;
    meta = { inherit description; };
  };
  verb =
    system: name: description:
    app description "${
      (packagesOf system).writeShellScriptBin "reprise-${name}" ''
        exec ${(repriseOf system).command}/bin/reprise ${name} "$@"
      ''
    }/bin/reprise-${name}";
  # The image goes from the Nix store into reprise's, where it is signed with the user's own key.
  train =
    environment:
    app "Train in the image of ${environment}" "${
      (packagesOf builtOn).writeShellScriptBin "reprise-train" ''
        exec ${(repriseOf builtOn).command}/bin/reprise train --project ${self} --layout ${
          images.${environment}.layoutWith (dataFor environment)
        } "$@"
      ''
    }/bin/reprise-train";
in
{
  packages = each systems (
    system:
    {
      reprise = (repriseOf system).command;
      default = (repriseOf system).command;
    }
    // (if system == builtOn then renamed "image-" images else { })
  );

  apps = each systems (
    system:
    {
      build = verb system "build" "Build an environment's image without Nix: the same digest";
      verify = verb system "verify" "Judge an image by a policy";
      audit = verb system "audit" "Rebuild and replay a run, and compare";
    }
    // (
      if system == builtOn then
        { default = train "torch-cpu"; } // renamed "train-" (each locked train)
      else
        { }
    )
  );

  # What is not there says what to do; `nix flake check` and `show` leave it alone.
  legacyPackages.${builtOn} = renamed "image-" unlocked;

  checks.${builtOn} = {
    digest-torch-cpu = images.torch-cpu.digestCheck;
  };

  devShells = each systems (system: {
    default = (packagesOf system).mkShellNoCC {
      packages = [
        (repriseOf system).command
        (repriseOf system).python
      ];
    };
  });

  formatter = each systems (system: (packagesOf system).nixfmt-tree);

  lib = { inherit mkImage; };

  templates.default = {
    path = ../../examples/nix;
    description = "A project with an image of its own, from its own lock and trainer";
  };
}
