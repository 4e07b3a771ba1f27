#!/bin/bash
# An OpenSearch home folder: lib/ and the one module it cannot start without, the HTTP transport.
set -euo pipefail
cd "$TESTBED/opensearch"
"$TESTBED/jars.sh" "$PWD/home.pom.xml" "$1/lib"
module=$1/modules/transport-netty4
"$TESTBED/jars.sh" "$PWD/netty.pom.xml" "$module"
cp plugin-descriptor.properties plugin-security.policy "$module/"
