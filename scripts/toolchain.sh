# Sourced by ./up and ./test: finds Rust, also under sudo, and builds the two programs.

RUST_MIN=1.95
# What compiling all of it took, of one core.
COMPILE_CPU_MINUTES=12
# Between two lines on how far the compiler is, where there is no terminal.
BUILD_LINE_S=15

# Puts cargo on the path; installs the C compiler that linking needs.
ensure_toolchain() {
  local home
  for home in "${HOME:-/root}" "$(getent passwd "${SUDO_USER:-root}" | cut -d: -f6)"; do
    if ! command -v cargo >/dev/null && [ -x "$home/.cargo/bin/cargo" ]; then
      export PATH="$home/.cargo/bin:$PATH" RUSTUP_HOME="${RUSTUP_HOME:-$home/.rustup}"
    fi
  done
  if ! command -v cargo >/dev/null; then
    echo "error: Rust is not installed: there is no cargo on the path" >&2
    echo "hint: install Rust $RUST_MIN or newer with rustup, as the person who runs sudo" >&2
    exit 7
  fi
  local version
  version=$(cargo --version | cut -d' ' -f2)
  if [ "$(printf '%s\n' "$RUST_MIN" "$version" | sort -V | head -n1)" != "$RUST_MIN" ]; then
    echo "error: cargo $version is older than $RUST_MIN" >&2
    echo "hint: rustup update stable" >&2
    exit 7
  fi
  if ! command -v cc >/dev/null; then
    apt-get -q update
    DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install gcc libc6-dev
  fi
}

# Builds the two programs, which lie beside each other, and says what it does. Sets UNDERCLOUD.
build_undercloud() {
  local target crates
  target=${CARGO_TARGET_DIR:-$PWD/target}/x86_64-unknown-linux-gnu/debug
  crates=$(grep -c '^name = ' Cargo.lock)
  if [ -x "$target/undercloud" ] && [ -x "$target/undercloud-agent" ]; then
    echo "build: brings undercloud up to date with this checkout; its log: $target/../build.log"
  else
    echo "build: compiles undercloud from this checkout, once: up to $crates crates," \
      "about $((COMPILE_CPU_MINUTES / $(nproc) + 1)) minutes on $(nproc) cores; its log: $target/../build.log"
  fi
  mkdir -p "$target"
  UNDERCLOUD=$target/undercloud
  export UNDERCLOUD
  set -- cargo build --locked --package undercloud --package undercloud-agent
  if [ -t 2 ]; then "$@"; else build_with_lines "$target/../build.log" "$@"; fi
}

# Runs cargo where there is no terminal: a line every so often says how far it is.
build_with_lines() { # log, command
  local log=$1 pid began=$SECONDS lock
  shift
  # One who builds at the same time has a log of his own, and the one before is kept.
  exec {lock}>> "$log.lock"
  if flock -n "$lock"; then
    if [ -e "$log" ]; then mv -f "$log" "$log.1"; fi
  else
    log=${log%.log}-$$.log
    echo "build: somebody else builds here; the log of this one: $log"
  fi
  CARGO_TERM_PROGRESS_WHEN=always CARGO_TERM_PROGRESS_WIDTH=80 "$@" > "$log" 2>&1 &
  pid=$!
  # `tail` ends with cargo; it is cut short after so long, to say a line.
  until timeout "$BUILD_LINE_S" tail --pid="$pid" -f /dev/null; do
    echo "build: $(built_so_far "$log"), $((SECONDS - began)) s"
  done
  # What goes on from here is no build.
  exec {lock}>&-
  if wait "$pid"; then
    echo "build: done, $((SECONDS - began)) s"
    return
  fi
  tr '\r' '\n' < "$log" | grep -vE '^\s*(Compiling|Building|Downloaded) ' >&2 || true
  echo "error: undercloud does not build; all that cargo said is in $log" >&2
  return 7
}

# From cargo's progress bar: `Building [==> ] 12/250: rustls, tokio`.
built_so_far() { # log
  local at
  at=$(tr '\r' '\n' < "$1" | grep -oE '[0-9]+/[0-9]+: .*' | tail -n 1)
  if [ -n "$at" ]; then echo "${at%%/*} of ${at#*/}"; else echo "fetches crates"; fi
}
