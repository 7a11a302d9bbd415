#!/usr/bin/env bash
# Makes bindings/c and bindings/go anew from wit/, for languages whose generator no package registry of theirs serves.
# Needs: cargo install wit-bindgen-cli --version 0.63.0 --no-default-features --features c,go --locked
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

rm -rf c
wit-bindgen c ../wit --world notifier --out-dir c

wit-bindgen go ../wit --world notifier --out-dir "$work/gen" --generate-stubs
# The runtime of the generated code comes inside the generator's crate.
runtime=$(find "${CARGO_HOME:-$HOME/.cargo}/registry/src" -maxdepth 2 -name 'wit-bindgen-go-0.63.0' | head -n 1)/src/pkg
rm -rf go/{handler,host,http,state,wit} go/notifier/exports.go
for name in handler host http state; do
  mkdir -p "go/$name"
  sed "s/^package postrider_notifier_$name\$/package $name/" "$work/gen/postrider_notifier_$name/wit_bindings.go" > "go/$name/bindings.go"
  cp "$work/gen/postrider_notifier_$name/empty.s" "go/$name/"
done
# The exports call functions of package notifier, which is written by hand.
sed -e 's/^package main$/package notifier/' -e '/"wit_component\/export_postrider_notifier_handler"/d' \
  -e 's/export_postrider_notifier_handler\.\(Describe\|Configure\|Send\)(/export\1(/' \
  -e '/^\/\/ Unused, but present/d' -e '/^func main() {}$/d' "$work/gen/wit_exports.go" > go/notifier/exports.go
cp "$work/gen/postrider_notifier_handler/empty.s" go/notifier/
mkdir -p go/wit/{types,runtime}
cp "$runtime"/wit/types/{option,result,tuple,unit}.go go/wit/types/
cp "$runtime"/wit/runtime/{runtime.go,empty.s} go/wit/runtime/
cp "$runtime/LICENSE" go/wit/
# The generated code asks for areas whose size is no multiple of their alignment, which the runtime refuses: round up.
perl -0pi -e 's|\tif size%align != 0 \{.*?\n\t\}\n|\t// Changed for postrider: the generated code asks for areas whose size is no multiple of their alignment.\n\tsize = (size + align - 1) &^ (align - 1)\n|s' go/wit/runtime/runtime.go
find go -name '*.go' -exec sed -i -e 's#"go.bytecodealliance.org/pkg/#"postrider/#' -e 's#"wit_component/postrider_notifier_#"postrider/#' \
  -e 's/postrider_notifier_\(handler\|host\|http\|state\)\./\1./g' {} +
gofmt -w go
