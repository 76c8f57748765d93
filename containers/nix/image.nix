# Lock → image: one derivation an artifact, a layer and an image, all made by the code that `reprise build` runs.
#
# Nothing about an image's bytes is said here. No import from a derivation; all inputs are files and hashes.
{
  pkgs,
  root,
  system,
}:
let
  inherit (builtins)
    any
    filter
    listToAttrs
    match
    path
    pathExists
    readFile
    stringLength
    substring
    toJSON
    ;

  builtOn = "x86_64-linux";

  # The code that a kind of derivation runs, and no more: what else changes here moves none of them.
  sources =
    name: wanted:
    let
      prefix = "${toString root}/";
      relative = file: substring (stringLength prefix) (-1) (toString file);
      isWithin = folder: file: file == folder || match "${folder}/.*" file != null;
      isAbove = folder: file: match "${file}/.*" folder != null;
    in
    path {
      inherit name;
      path = root;
      filter =
        file: _:
        match ".*/__pycache__(/.*)?|.*[.]pyc" file == null
        && any (folder: isWithin folder (relative file) || isAbove folder (relative file)) wanted;
    };
  forLayers = [
    "containers/reprise/__init__.py"
    "containers/reprise/events.py"
    "containers/reprise/image"
    "containers/reprise/layers.py"
    "containers/reprise/lock"
    "containers/reprise/nix/__init__.py"
    "containers/reprise/nix/derivation.py"
    "containers/reprise/nix/layer.py"
    "containers/reprise/store"
    "trainer/reprise_trainer/__init__.py"
    "trainer/reprise_trainer/canonical.py"
    "trainer/reprise_trainer/durable.py"
    "trainer/reprise_trainer/errors.py"
    "trainer/reprise_trainer/identity/__init__.py"
    "trainer/reprise_trainer/identity/file_list.py"
    "trainer/reprise_trainer/identity/inventory.py"
    "trainer/reprise_trainer/identity/strict_json.py"
  ];
  forImages = forLayers ++ [
    "containers/reprise/artifacts"
    "containers/reprise/build.py"
    "containers/reprise/environments.py"
    "containers/reprise/nix"
    "containers/reprise/project.py"
  ];

  layerCode = sources "reprise-layer-code" forLayers;
  imageCode = sources "reprise-image-code" forImages;

  # A derivation that does one job of reprise/nix/derivation.py.
  builder =
    {
      name,
      job,
      python ? pkgs.python3,
      code ? layerCode,
      fixed ? null,
    }:
    derivation (
      {
        inherit name;
        system = builtOn;
        builder = "${python}/bin/python3";
        args = [
          "-IBc"
          ''
            import os, sys
            sys.path[:0] = ["${code}/containers", "${code}/trainer"]
            from reprise.nix.derivation import main
            sys.exit(main(os.environ["jobPath"], os.environ["out"]))
          ''
        ];
        job = toJSON job;
        passAsFile = [ "job" ];
      }
      // (
        if fixed == null then
          { }
        else
          {
            outputHashMode = "flat";
            outputHashAlgo = "sha256";
            outputHash = fixed;
            impureEnvVars = [
              "http_proxy"
              "https_proxy"
              "no_proxy"
              "HTTP_PROXY"
              "HTTPS_PROXY"
              "NO_PROXY"
            ];
            preferLocalBuild = true;
          }
      )
    );

  archive =
    folder: name:
    builder {
      name = "${name}.tar";
      job = {
        make = "source";
        inherit name;
        folder = path {
          path = folder;
          name = "source";
        };
      };
    };
in
{
  lock,
  environment,
  trainer ? root + "/trainer/reprise_trainer",
}:
let
  locked = import ./lock.nix lock;
  toml = builtins.fromTOML (readFile environment);
  fetched = import ./artifacts.nix {
    inherit pkgs builder imageCode;
    findLinks = filter (place: match "[a-z]+://.*" place != null) (toml.sources.find_links or [ ]);
  };
  files =
    artifacts:
    listToAttrs (
      map (artifact: {
        name = artifact.sha256;
        value = "${fetched artifact}";
      }) artifacts
    );

  # What starts the jobs: it unpacks, and makes no byte of a layer. conda packages need a zstd for that.
  starter = if locked.hasConda then pkgs.python3.withPackages (python: [ python.zstandard ]) else pkgs.python3;
  python = builder {
    name = "reprise-python";
    python = starter;
    job = {
      make = "python";
      inherit (locked.python) lock;
      artifacts = files locked.python.artifacts;
    };
  };
  source = archive trainer "reprise_trainer";
  layer =
    each:
    builder {
      name = "layer-${import ./names.nix each.name}";
      python = starter;
      job = {
        make = "layer";
        inherit (each) name lock;
        artifacts = files each.artifacts;
        python = "${python}";
        source = if each.name == "trainer" then "${source}" else "";
      };
    };
  layers = map layer locked.layers;
  image = builder {
    name = "image-${import ./names.nix locked.environment}";
    code = imageCode;
    python = starter;
    job = {
      make = "image";
      artifacts = files locked.python.artifacts;
      python = "${python}";
      layers = map (each: "${each}") layers;
      folder = path {
        path = lock;
        name = "lock";
      };
      environment = path {
        path = environment;
        name = "environment.toml";
      };
      source = "${source}";
    };
  };
in
if !pathExists environment then
  throw "reprise: ${toString environment} does not exist; lib.mkImage needs the environment's TOML, from which the lock was made"
else if system != builtOn then
  throw "reprise: images are built on ${builtOn}, not on ${system}. Ask for packages.${builtOn} and name such a machine as a remote builder"
else if locked.problem != null then
  throw "reprise: ${locked.problem}"
else
  image
  // {
    inherit layers python source;
    artifacts = listToAttrs (
      map (artifact: {
        name = artifact.fileName;
        value = fetched artifact;
      }) locked.artifacts
    );
    # What `reprise train --layout` takes, so that a run, and an audit of it, need nothing else: `data` are artifacts
    # as an example's [data] names them.
    layoutWith =
      data:
      builder {
        name = "layout-${import ./names.nix locked.environment}";
        code = imageCode;
        job = {
          make = "layout";
          image = "${image}";
          artifacts = files (locked.artifacts ++ data);
        };
      };
    # That the lock gives the environment image whose digest is committed beside it.
    digestCheck = builder {
      code = imageCode;
      name = "digest-${import ./names.nix locked.environment}";
      job = {
        make = "digest-check";
        image = "${image}";
        expected = readFile (lock + "/environment.digest");
      };
    };
  }
