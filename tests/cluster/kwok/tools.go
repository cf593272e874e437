//go:build tools

// Package tools names kwok, so that go.mod and go.sum pin what it is built of.
package tools

import _ "sigs.k8s.io/kwok/cmd/kwok"
