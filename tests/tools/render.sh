#!/usr/bin/env bash
# Writes what is derived from crds/ and charts/ below the folder OUT: the CRD copies of the chart
# and deploy/install.yaml. `make generate` calls it for the checkout, a test for an empty folder to
# see whether the committed ones are fresh.
# Usage: render.sh HELM OUT
set -euo pipefail
helm=$1
out=$(cd "$2" && pwd)
cd "$(dirname "$0")/../.."

copies="$out/charts/vmcp-operator-crds/files"
mkdir -p "$copies" "$out/deploy"
find "$copies" -name '*.yaml' -delete
cp crds/*.yaml "$copies/"

{
    cat <<'YAML'
# Everything that a cluster needs to run vmcp: kubectl apply -f deploy/install.yaml
# Generated from charts/ by `make generate`; do not edit. Change image names to your registry's.
apiVersion: v1
kind: Namespace
metadata:
  name: vmcp-system
  labels:
    app.kubernetes.io/part-of: vmcp
    pod-security.kubernetes.io/enforce: restricted
YAML
    # Of the charts' labels one is not true here: nobody's helm manages these objects.
    for chart in vmcp-operator-crds vmcp-operator; do
        "$helm" template vmcp-operator "charts/$chart" --namespace vmcp-system
    done | sed -e '/managed-by: Helm/d' -e 's/[[:space:]]*$//'
} >"$out/deploy/install.yaml"
