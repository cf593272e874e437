//go:build tools

// Package registry pins the program that serves and fills the tests' image registry.
package registry

import _ "github.com/google/go-containerregistry/cmd/crane"
