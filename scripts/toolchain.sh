# Sourced by ./up and ./test: finds Rust, also under sudo, and builds the two binaries.

RUST_MIN=1.95

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

# Builds the daemon, and the agent as a static program: it runs where there are no libraries.
# Sets UNDERCLOUD; tells the program where the agent is by UNDERCLOUD_AGENT.
build_undercloud() {
  local triple=x86_64-unknown-linux-gnu target
  cargo build --quiet --locked --package undercloud
  RUSTFLAGS='-C target-feature=+crt-static' \
    cargo build --quiet --locked --package undercloud-agent --target "$triple"
  target=${CARGO_TARGET_DIR:-$PWD/target}
  UNDERCLOUD=$target/debug/undercloud
  export UNDERCLOUD UNDERCLOUD_AGENT="$target/$triple/debug/undercloud-agent"
}
