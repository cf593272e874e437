//go:build tools

// Package tools names an old API server, so that go.mod and go.sum pin what it is built of.
package tools

import _ "k8s.io/kubernetes/cmd/kube-apiserver"
