//go:build tools

// Package tools pins the Prometheus operator, which writes StatefulSets from its own resources.
package tools

import _ "github.com/prometheus-operator/prometheus-operator/cmd/operator"
