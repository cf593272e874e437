// The evaluation of Kyverno's validate.podSecurity at Restricted, as a program: the controls that it reports for the pods
// of a directory, as JSON. In a directory of its own, with the replacement that Kyverno's own go.mod has:
//
//	go mod init scan && go get github.com/kyverno/kyverno@v1.19.1
//	go mod edit -replace k8s.io/pod-security-admission=github.com/kyverno/pod-security-admission@v0.0.0-20251031094455-46f20778634f
//	go build -mod=mod -o kyverno-scan kyverno.go
package main

import (
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/kyverno/kyverno/pkg/pss"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/pod-security-admission/api"
	"sigs.k8s.io/yaml"
)

func main() {
	level := &api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	reported := map[string][]string{}
	files, err := filepath.Glob(filepath.Join(os.Args[1], "*.yaml"))
	if err != nil {
		panic(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			panic(err)
		}
		pod := &corev1.Pod{}
		if err := yaml.Unmarshal(text, pod); err != nil {
			panic(err)
		}
		_, results := pss.EvaluatePod(level, nil, pod)
		for _, result := range results {
			name := filepath.Base(file)
			reported[name] = append(reported[name], result.ID)
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(reported); err != nil {
		panic(err)
	}
}
