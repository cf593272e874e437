//go:build tools

// Package tools pins Helm 3.
package tools

import _ "helm.sh/helm/v3/cmd/helm"
