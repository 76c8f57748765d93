# A file's name as the Nix store takes it: the rule of reprise/nix/names.py, which says more; a test holds them together.
fileName:
let
  inherit (builtins)
    concatStringsSep
    filter
    isString
    split
    stringLength
    substring
    ;
  longest = 199;
  clean = concatStringsSep "-" (filter isString (split "[^A-Za-z0-9+._?=-]" fileName));
  length = stringLength clean;
  end = if length > longest then substring (length - longest) longest clean else clean;
in
if end == "" || substring 0 1 end == "." then "-${end}" else end
