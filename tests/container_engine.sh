#!/usr/bin/env bash
# A private container engine for the tests, with its own data and socket: real Docker or Podman, as
# root on Debian, without network, service or registry.
#   container_engine.sh install               ask apt for what is missing (both engines)
#   container_engine.sh up|restart|down docker|podman FOLDER
# Each may be called again at any time. FOLDER is short: a socket's path has room for 107 bytes.
set -euo pipefail

install() {
  local packages=() policy=/usr/sbin/policy-rc.d
  command -v dockerd >/dev/null || packages+=(docker.io)
  # The servers are those that are saved and restored in containers.
  for package in podman conmon runc busybox-static curl postgresql-15 mariadb-server redis-server sqlite3; do
    dpkg -s "$package" >/dev/null 2>&1 || packages+=("$package")
  done
  [ ${#packages[@]} -gt 0 ] || return 0
  echo "Installing: ${packages[*]}"
  # The programs are wanted, not services that Debian starts.
  local own=
  [ -e $policy ] || { own=1; printf '#!/bin/sh\nexit 101\n' >$policy; chmod +x $policy; }
  mkdir -p /etc/postgresql-common/createcluster.d
  echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.d/no-cluster.conf
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
  [ -z "$own" ] || rm -f $policy
}

api() { curl -fsS -m "${LIMIT:-30}" --unix-socket "$socket" "$@"; }
answers() { LIMIT=3 api http://engine/_ping >/dev/null 2>&1; }

reap() { # what an engine that was killed left: container processes, shims, mounts, stale files
  local process mount
  for process in /proc/[0-9]*; do
    [ "${process#/proc/}" != $$ ] || continue
    # A container's process has its root in our data; others only see our mounts.
    if awk -v data="$folder/" '$5 == "/" && index($0, data) { found = 1 } END { exit !found }' \
      "$process/mountinfo" 2>/dev/null ||
      tr '\0' ' ' 2>/dev/null <"$process/cmdline" |
      grep -qE "^[^ ]*(dockerd|conmon|containerd|containerd-shim[^ ]*|podman) .*$folder/"; then
      kill -9 "${process#/proc/}" 2>/dev/null || true
    fi
  done 2>/dev/null
  awk -v data="$folder/" 'index($2, data) == 1 { print $2 }' /proc/mounts | sort -r |
    while read -r mount; do umount -l "$mount" || true; done
  rm -rf "$socket" "$folder/pid" "$folder/dockerd.pid" "$folder/x/containerd"
}

start() {
  reap
  mkdir -p "$folder"
  case $engine in
  docker)
    setsid dockerd --data-root "$folder/d" --exec-root "$folder/x" --pidfile "$folder/dockerd.pid" \
      -H "unix://$socket" --storage-driver="${STORAGE:-overlay2}" --iptables=false --ip6tables=false \
      --bridge=none --ip-forward=false >"$folder/log" 2>&1 </dev/null &
    ;;
  podman)
    # Where limits cannot be raised, containers get those that are there; crun refuses hybrid cgroups.
    local files processes
    files=$(ulimit -Hn) processes=$(ulimit -Hu)
    [ "$files" != unlimited ] || files=1048576
    [ "$processes" != unlimited ] && [ "$processes" -lt 32768 ] || processes=32768
    cat >"$folder/containers.conf" <<END
[containers]
default_ulimits = ["nofile=$files:$files", "nproc=$processes:$processes"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
exit_command_delay = 60
END
    CONTAINERS_CONF="$folder/containers.conf" setsid podman --root "$folder/d" --runroot "$folder/x" \
      --tmpdir "$folder/t" --storage-driver "${STORAGE:-overlay}" \
      system service --time=0 "unix://$socket" >"$folder/log" 2>&1 </dev/null &
    ;;
  esac
  local pid=$!
  echo "$pid" >"$folder/pid"
  for _ in $(seq 300); do
    answers && return 0
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  echo "the engine did not start:" >&2
  tail -30 "$folder/log" >&2
  exit 1
}

import() { # import NAME ROOT PATH: an image from a folder; nothing comes from a registry
  tar -C "$2" --numeric-owner --owner=0 --group=0 -cf "$2.tar" .
  curl -fsS --unix-socket "$socket" -X POST -H 'Content-Type: application/x-tar' -H 'Expect:' \
    --upload-file "$2.tar" "http://engine/v1.41/images/create?fromSrc=-&repo=localhost/$1&tag=latest&changes=CMD%20%5B%22sleep%22%2C%22infinity%22%5D&changes=ENV%20PATH=$3" >/dev/null
  rm -rf "$2" "$2.tar"
}

skeleton() {
  mkdir -p "$1"/{etc/pam.d,tmp,root,proc,sys,dev,data,run,var/tmp,var/lib}
  chmod 1777 "$1/tmp"
  printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/data:/bin/sh\n' >"$1/etc/passwd"
  # So that su lets root become others.
  printf '%s required pam_permit.so\n' auth account session >"$1/etc/pam.d/other"
  printf 'root:x:0:\nnogroup:x:65534:\n' >"$1/etc/group"
}

images() {
  has() { LIMIT=5 api "http://engine/v1.41/images/localhost/$1:latest/json" >/dev/null 2>&1; }
  local root=$folder/image
  if ! has busybox; then # all programs of a small image in one
    skeleton "$root"
    mkdir "$root/bin"
    cp "$(command -v busybox)" "$root/bin/busybox"
    for name in $("$root/bin/busybox" --list); do
      [ "$name" = busybox ] || ln -sf busybox "$root/bin/$name"
    done
    import busybox "$root" /bin
  fi
  if ! has host; then # with `-v /usr:/usr:ro` it has every program of this machine
    skeleton "$root"
    mkdir "$root/usr"
    for name in bin sbin lib lib64; do ln -s "usr/$name" "$root/$name"; done
    import host "$root" /usr/local/bin:/usr/bin:/bin
  fi
  if ! has bare; then # no shell at all
    skeleton "$root"
    mkdir "$root/bin"
    cp "$(command -v busybox)" "$root/bin/sleep"
    import bare "$root" /bin
  fi
}

end() { # the engine's own process, as an operator would
  local pid
  if [ -f "$folder/pid" ] && pid=$(cat "$folder/pid") && grep -qa "$folder" "/proc/$pid/cmdline" 2>/dev/null; then
    kill "$pid" || true
    for _ in $(seq 150); do
      [ -d "/proc/$pid" ] && ! grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null || break
      sleep 0.1
    done
  fi
}

down() {
  if answers; then
    for container in $(api 'http://engine/v1.41/containers/json?all=1' | grep -oE '"Id": ?"[0-9a-f]{64}"' | grep -oE '[0-9a-f]{64}'); do
      LIMIT=60 api -X DELETE "http://engine/v1.41/containers/$container?force=1&v=1" >/dev/null || true
    done
  fi
  end
  reap
  rm -rf "$folder"
}

engine=${2:-} folder=${3:-} socket=${3:-}/socket
case ${1:-} in
install) install ;;
up)
  answers || { rm -rf "$folder" && start; }
  images
  ;;
restart)
  end
  start
  ;;
down) down ;;
*)
  echo "usage: $0 install | up|restart|down docker|podman FOLDER" >&2
  exit 2
  ;;
esac
