//go:build tools

// Package tools pins kustomize, which runs functions that kubectl's own does not.
package tools

import _ "sigs.k8s.io/kustomize/kustomize/v5"
