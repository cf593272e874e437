// The Kubernetes scanner of Trivy with the checks that it brings, as a program: what it reports for the files of a
// directory, as JSON. Trivy itself takes four times as many packages to build. In a directory of its own:
//
//	go mod init scan && go get github.com/aquasecurity/trivy@v0.74.0
//	GOEXPERIMENT=jsonv2 go build -o trivy-scan trivy.go
package main

import (
	"context"
	"encoding/json"
	"os"

	"github.com/aquasecurity/trivy/pkg/iac/rego"
	"github.com/aquasecurity/trivy/pkg/iac/scanners/kubernetes"
)

func main() {
	scanner := kubernetes.NewScanner(rego.WithEmbeddedPolicies(true), rego.WithEmbeddedLibraries(true))
	results, err := scanner.ScanFS(context.Background(), os.DirFS(os.Args[1]), ".")
	if err != nil {
		panic(err)
	}
	reported := map[string][]string{}
	for _, result := range results.GetFailed() {
		file := result.Metadata().Range().GetFilename()
		reported[file] = append(reported[file], result.Rule().ID)
	}
	if err := json.NewEncoder(os.Stdout).Encode(reported); err != nil {
		panic(err)
	}
}
