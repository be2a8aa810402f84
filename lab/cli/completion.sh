# shellcheck shell=bash
# Completes the lab's tasks in bash, and in zsh by its bashcompinit: `invoke lab-env` prints the
# line that reads this file. Its arguments are the checkout and the path of completion.txt.
# A completion must answer before the next key, so no program starts here. Tasks and flags come from
# completion.txt, which Python wrote. Exercises, machines, labs and snapshots are files of the checkout.

if [ -n "${ZSH_VERSION-}" ]; then
  # `-i` skips folders that others may write, without a question.
  command -v compdef >/dev/null || { autoload -Uz compinit && compinit -i; }
  autoload -Uz bashcompinit && bashcompinit
fi

_lecture_lab_root=$1
_lecture_lab_table=$2

# Adds to COMPREPLY the words that begin with what is typed.
_lecture_lab_offer() {
  local word
  for word in "$@"; do
    case $word in "$typed"*) COMPREPLY+=("$prefix$word") ;; esac
  done
}

# Offers the names of the folders in which these files are.
_lecture_lab_folders() {
  local path
  for path in "$@"; do
    [ -e "$path" ] || continue
    path=${path%/*}
    path=${path##*/}
    _lecture_lab_offer "$path"
  done
}

# Offers what a source of completion.txt means.
_lecture_lab_source() {
  local path key value rest
  case $1 in
  -) ;;
  @files)
    # zsh has no compopt.
    if command -v compopt >/dev/null; then
      compopt -o default 2>/dev/null
    else
      COMPREPLY=($(compgen -f -- "$typed"))
    fi
    ;;
  @exercises)
    # A folder in Python's spelling: multi_container_pod.
    for path in "$_lecture_lab_root"/infra/workloads/*/exercise.toml; do
      path=${path%/*}
      path=${path##*/}
      _lecture_lab_offer "${path//_/-}"
    done
    ;;
  @labs) _lecture_lab_folders "$_lecture_lab_root"/.lab/*/machines.json ;;
  @machines)
    [ -r "$state/ssh_config" ] || return 0
    while read -r key value rest; do
      [ "$key" != Host ] || _lecture_lab_offer "$value"
    done <"$state/ssh_config"
    ;;
  @snapshots)
    case $argument in
    '') _lecture_lab_offer delete list restore save ;;
    delete | restore) _lecture_lab_folders "$state"/snapshots/*/snapshot.json ;;
    esac
    ;;
  *)
    rest=$1,
    while [ -n "$rest" ]; do
      _lecture_lab_offer "${rest%%,*}"
      rest=${rest#*,}
    done
    ;;
  esac
}

# Completes the word at the cursor: Bash calls it, see `complete`.
_lecture_lab() {
  local typed=${COMP_WORDS[COMP_CWORD]} prefix='' task='' argument='' flag='' lab=${LAB_NAME:-lab}
  local kind name source flags word state known=' ' tasks=() valued=() sources=() i arguments=0
  local IFS=$' \t\n'
  COMPREPLY=()
  while read -r kind name source flags; do
    case $kind in
    task)
      tasks+=("$name")
      known="$known$name "
      ;;
    value)
      valued+=("$name")
      sources+=("$source")
      ;;
    esac
  done <"$_lecture_lab_table"

  # What stands before the cursor: the task, its arguments, and a flag that still lacks its value.
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if [ -n "$flag" ]; then
      # Bash takes `--lab=one` for three words.
      [ "$word" != = ] || continue
      [ "$flag" != --lab ] || lab=$word
      flag=''
    elif [ -z "$task" ]; then
      case $known in *" $word "*) task=$word ;; esac
    else
      case $word in
      # zsh takes `--lab=one` for one word.
      --lab=*) lab=${word#*=} ;;
      -*) case " ${valued[*]} " in *" $word "*) flag=$word ;; esac ;;
      *)
        arguments=$((arguments + 1))
        argument=$word
        ;;
      esac
    fi
  done
  state=$_lecture_lab_root/.lab/$lab
  [ "$typed" != = ] || typed=''
  case $typed in
  --*=*)
    flag=${typed%%=*}
    prefix=$flag=
    typed=${typed#*=}
    ;;
  esac

  if [ -n "$flag" ]; then
    for ((i = 0; i < ${#valued[@]}; i++)); do
      [ "${valued[i]}" != "$flag" ] || _lecture_lab_source "${sources[i]}"
    done
    return 0
  fi
  if [ -z "$task" ]; then
    _lecture_lab_offer "${tasks[@]}"
    case $typed in -*) _lecture_lab_offer --help --list ;; esac
    return 0
  fi
  while read -r kind name source flags; do
    [ "$kind $name" = "task $task" ] || continue
    case $typed in
    -*)
      while [ -n "$flags" ]; do
        _lecture_lab_offer "${flags%% *}"
        case $flags in *' '*) flags=${flags#* } ;; *) flags='' ;; esac
      done
      ;;
    *)
      # A `+` is for tasks that take several arguments.
      case $source in
      *+) _lecture_lab_source "${source%+}" ;;
      *) [ "$arguments" -gt 0 ] || _lecture_lab_source "$source" ;;
      esac
      ;;
    esac
  done <"$_lecture_lab_table"
}

complete -F _lecture_lab invoke inv
