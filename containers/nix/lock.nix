# A lock's files, read for Nix: which artifacts there are, and the lock cut down to some of them.
#
# Only names are looked at here. What a lock means, and whether it is right, is for reprise/lock to say: each derivation
# gets the documents of a lock and reads them with that code.
folder:
let
  inherit (builtins)
    attrNames
    concatMap
    elemAt
    filter
    fromJSON
    genericClosure
    head
    listToAttrs
    mapAttrs
    match
    pathExists
    readFile
    replaceStrings
    stringLength
    substring
    ;
  names = {
    conda = "conda-lock.yml";
    debian = "debian.lock.json";
    plan = "layers.json";
  };
  environment = builtins.unsafeDiscardStringContext (baseNameOf (toString folder));

  read = name: fromJSON (readFile (folder + "/${name}"));
  documents = mapAttrs (_: read) names;

  purlPart = purl: match "pkg:([a-z]+)/(.*)@([^?]*)([?].*)?" purl;
  qualifier =
    key: purl:
    let
      found = match ".*[?&]${key}=([^&]*).*" purl;
    in
    if found == null then "" else decoded (head found);
  # What package URLs write for the characters that file names may hold.
  decoded = replaceStrings [ "%2B" "%21" "%3A" "%7E" "%3D" "%25" ] [ "+" "!" ":" "~" "=" "%" ];
  hasSuffix =
    suffix: text:
    let
      from = stringLength text - stringLength suffix;
    in
    from >= 0 && substring from (stringLength suffix) text == suffix;

  deb = entry: {
    inherit entry;
    inherit (entry) purl sha256;
    type = "deb";
    document = "debian";
    name = elemAt (match "(.*/)?([^/]+)" (elemAt (purlPart entry.purl) 1)) 1;
    fileName = baseNameOf entry.path;
    location = entry.path;
  };
  wheel = entry: {
    inherit entry;
    purl = entry.url;
    sha256 = entry.hash.sha256 or "";
    type = "pypi";
    document = "conda";
    inherit (entry) name;
    fileName = qualifier "file_name" entry.url;
    location = "";
  };
  conda = entry: {
    inherit entry;
    purl = condaPurl entry;
    sha256 = entry.hash.sha256 or "";
    type = "conda";
    document = "conda";
    inherit (entry) name;
    fileName = baseNameOf entry.url;
    location = entry.url;
  };
  # A plan names conda packages by package URLs; an entry has its address, which ends with the same parts.
  planned = concatMap (layer: layer.artifacts) documents.plan.layers;
  condaPlanned = filter (purl: head (purlPart purl) == "conda") planned;
  condaPurl =
    entry:
    let
      tail =
        purl:
        let
          part = elemAt (purlPart purl);
        in
        "/${qualifier "subdir" purl}/${decoded (part 1)}-${decoded (part 2)}-${qualifier "build" purl}.${qualifier "type" purl}";
      found = filter (purl: hasSuffix (tail purl) (decoded entry.url)) condaPlanned;
    in
    if found == [ ] then entry.url else head found; # what no layer has is the builder's alone

  artifacts =
    map deb documents.debian.packages
    ++ map (entry: if entry.manager == "conda" then conda entry else wheel entry) documents.conda.package;
  byPurl = listToAttrs (
    map (artifact: {
      name = artifact.purl;
      value = artifact;
    }) artifacts
  );

  # What the builder's Python is made of (reprise/layers.py): the image's own Python with the build tools. For Debian's,
  # reprise/image/bootstrap.py has this rule as `starts_python`, and a test holds the two together.
  startsPython = name: match "(lib)?python3[.].*|libc6|zlib1g|libbz2-1[.]0|libexpat1|liblzma5|libssl3.*" name != null;
  isBuildTool = artifact: artifact.entry.category or "main" == "build" || artifact.name == "zstandard";
  forPython = filter (
    artifact:
    isBuildTool artifact
    || artifact.type == "deb" && startsPython artifact.name
    || artifact.type == "conda" && condaClosure ? ${artifact.name}
  ) artifacts;
  # conda's Python and all that it depends on, where the environment has one (reprise/image/conda_closure.py). Packages
  # for any platform don't count: the builder does not use what they hold.
  condaEntries = listToAttrs (
    map (artifact: {
      inherit (artifact) name;
      value = artifact.entry;
    }) (filter (artifact: artifact.type == "conda" && match ".*/noarch/.*" artifact.location == null) artifacts)
  );
  condaClosure = listToAttrs (
    map (found: {
      name = found.key;
      value = null;
    }) (
      genericClosure {
        startSet = [ { key = "python"; } ];
        operator =
          item:
          map (name: { key = name; }) (
            filter (name: condaEntries ? ${name}) (attrNames (condaEntries.${item.key}.dependencies or { }))
          );
      }
    )
  );

  # The lock's documents with these artifacts and layers alone, and without what names the environment: so two
  # environments share a layer.
  cut = chosen: layers: {
    ${names.conda} = documents.conda // {
      package = entriesOf "conda" chosen;
      metadata = documents.conda.metadata // {
        content_hash = mapAttrs (_: _: "") documents.conda.metadata.content_hash;
        custom_metadata = documents.conda.metadata.custom_metadata // {
          environment = "part of a lock";
        };
      };
    };
    ${names.debian} = documents.debian // {
      created = 0;
      packages = entriesOf "debian" chosen;
    };
    ${names.plan} = documents.plan // {
      inherit layers;
    };
  };
  entriesOf =
    document: chosen: map (artifact: artifact.entry) (filter (each: each.document == document) chosen);

  # Once each, in one order.
  union =
    lists:
    let
      all = listToAttrs (
        map (artifact: {
          name = artifact.purl;
          value = artifact;
        }) (concatMap (list: list) lists)
      );
    in
    map (purl: all.${purl}) (attrNames all);

  part = chosen: layers: {
    artifacts = union [ chosen forPython ];
    lock = cut (union [ chosen forPython ]) layers;
  };
  # What keeps Nix from reading the lock at all; the first is enough to know what to do.
  missing = filter (name: !pathExists (folder + "/${name}")) (builtins.attrValues names);
  withoutHash = filter (artifact: match "[0-9a-f]{64}" artifact.sha256 == null) artifacts;
  unknown = concatMap (
    layer:
    map (purl: "layer ${layer.name} of ${environment} names ${purl}, which its lock does not have") (
      filter (purl: !byPurl ? ${purl}) layer.artifacts
    )
  ) documents.plan.layers;
  again = "Write the lock again with: reprise lock ${environment}";
in
{
  inherit environment artifacts startsPython;

  # Whether the builder's Python has to be taken out of conda packages, which are zstd inside.
  hasConda = condaEntries != { };

  # Null, or why no image can be built from this.
  problem =
    if missing != [ ] then
      "environment ${environment} is not locked (${environment}/${head missing} is missing). Write its lock with: reprise lock ${environment}"
    else if withoutHash != [ ] then
      "${(head withoutHash).purl} has no sha256 in the lock of ${environment}. ${again}"
    else if unknown != [ ] then
      "${head unknown}. ${again}"
    else
      null;

  # What the image's Python follows from.
  python = part [ ] [ ];

  # What each layer follows from, lowest first: the base, the planned ones, the trainer.
  layers = [
    ({ name = "base"; } // part [ ] [ ])
  ]
  ++ map (
    layer:
    {
      inherit (layer) name;
    }
    // part (map (
      purl:
      byPurl.${purl}
        or (throw "reprise: layer ${layer.name} of ${environment} names ${purl}, which its lock does not have. Write the lock again with: reprise lock ${environment}")
    ) layer.artifacts) [ layer ]
  ) documents.plan.layers
  ++ [ ({ name = "trainer"; } // part [ ] [ ]) ];
}
