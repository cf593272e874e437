//go:build tools

// Package tools names an API server between the old and the newest, so that go.mod and go.sum pin what it is built of.
package tools

import _ "k8s.io/kubernetes/cmd/kube-apiserver"
