#!/bin/sh
# Snapshots of machines that are containers, in a container that sees the storage of all of them:
# below machines/ a folder for each machine, with its layer and its volumes; below snapshots/ a
# folder for each snapshot, with a copy of machines/.
#   snapshot.sh save NAME KEPT...    a new one; all but it and those that are kept are removed
#   snapshot.sh keep KEPT...         remove all others
#   snapshot.sh restore NAME         into machines that are stopped
set -eu

# By difference: files are alike by size and time, which counts to the nanosecond: a datastore keeps
# its size. Docker inside a machine may go on while the machine is held, so a file may vanish (24).
copy() {
  rsync --archive --hard-links --xattrs --numeric-ids --delete --modify-window=-1 "$@" || [ $? = 24 ]
}

keep() {
  for folder in snapshots/*; do
    case " $* " in
      *" ${folder#snapshots/} "*) ;;
      *) rm -rf "$folder" ;;
    esac
  done
}

# What another snapshot, or another machine of this one, has the same of is stored once.
save() {
  name=$1
  shift
  keep "$@"
  latest=$(ls -t snapshots | head -n 1)
  mkdir "snapshots/$name"
  first=
  for machine in machines/*; do
    machine=${machine#machines/}
    set --
    for like in "${latest:+snapshots/$latest/$machine}" "${first:+snapshots/$name/$first}"; do
      [ ! -d "$like" ] || set -- "$@" "--link-dest=$PWD/$like"
    done
    copy "$@" "machines/$machine/" "snapshots/$name/$machine/"
    first=${first:-$machine}
  done
}

restore() {
  copies=
  for machine in machines/*; do
    copy "snapshots/$1/${machine#machines/}/" "$machine/" &
    copies="$copies $!"
  done
  for process in $copies; do
    wait "$process"
  done
}

"$@"
