//go:build tools

// Package tools pins Flux' kustomize-controller, which applies what a repository says.
package tools

import _ "github.com/fluxcd/kustomize-controller"
