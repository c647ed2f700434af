# Sourced by the checks that look at what a branch has changed. changed_files BASE PATTERN...:
# files that differ from BASE, those that git does not track yet among them. BASE may be empty:
# then where the branch began, else the commit before. Prints nothing where git cannot tell.

default_base() {
  local branch base
  for branch in origin/main main; do
    base=$(git merge-base HEAD "$branch" 2>/dev/null) || continue
    [ "$base" = "$(git rev-parse HEAD)" ] || { echo "$base"; return; }
  done
  git rev-parse --verify --quiet 'HEAD~1' || true
}

changed_files() {
  local base=$1
  shift
  git rev-parse --verify --quiet HEAD >/dev/null 2>&1 || return 0
  [ -n "$base" ] || base=$(default_base)
  [ -z "$base" ] || git diff --name-only --diff-filter=d "$base" -- "$@"
  git ls-files --others --exclude-standard -- "$@"
}
