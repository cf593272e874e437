// Command oracle answers, as JSON lines on stdin and stdout, what the official
// Kubernetes code makes of a manifest or a pod. The tests hold kubectl-harden
// against it.
//
// One request per line; "op" selects:
//
//	versions                             the newest policy version that the evaluator knows
//	types                                the JSON types of a pod template and all below it
//	stream    {data: base64}             documents as kubectl reads them, or the error that ends the stream
//	yaml      {data: base64}             one document by sigs.k8s.io/yaml
//	evaluate  {metadata, spec}           the bare evaluator, at every level and version
//	admit     {object}                   the API server's chain on a creation: decode, default, prepare,
//	                                     validate, convert, evaluate at every level and version
//	strategic {object, patch}            a strategic merge patch, applied as kubectl patch does
//	kustomize {files}                    what kustomize builds of a directory
//	labels    {labels, defaults}         the policy of each mode that a namespace's labels ask for, and what
//	                                     admission complains of; defaults are those of an API server's configuration
//	admission {files}                    what an API server reads of its admission configuration, config.yaml
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

type request struct {
	Op       string             `json:"op"`
	Data     []byte             `json:"data"`
	Metadata *metav1.ObjectMeta `json:"metadata"`
	Spec     *corev1.PodSpec    `json:"spec"`
	Object   json.RawMessage    `json:"object"`
	Patch    json.RawMessage    `json:"patch"`
	Files    map[string]string  `json:"files"`
	Labels   map[string]string  `json:"labels"`
	Defaults map[string]string  `json:"defaults"`
}

// verdict is the outcome for a run of consecutive policy versions.
type verdict struct {
	Level   api.Level `json:"level"`
	First   int       `json:"first"`
	Last    int       `json:"last"`
	Reasons []string  `json:"reasons"`
	Details []string  `json:"details"`
}

type document struct {
	JSON  json.RawMessage `json:"json,omitempty"`
	Error string          `json:"error,omitempty"`
}

type response struct {
	Modes     map[string]string `json:"modes,omitempty"`
	Newest    int               `json:"newest,omitempty"`
	Types     any               `json:"types,omitempty"`
	Documents []document        `json:"documents,omitempty"`
	Verdicts  []verdict         `json:"verdicts,omitempty"`
	Invalid   []string          `json:"invalid,omitempty"`
	Config    any               `json:"config,omitempty"`
	Error     string            `json:"error,omitempty"`
}

func newestMinor(checks []policy.Check) int {
	newest := 0
	for _, check := range checks {
		for _, version := range check.Versions {
			newest = max(newest, version.MinimumVersion.Minor())
		}
	}
	return newest
}

type oracle struct {
	evaluator policy.Evaluator
	newest    int
}

func (o *oracle) evaluate(metadata *metav1.ObjectMeta, spec *corev1.PodSpec) []verdict {
	var verdicts []verdict
	for _, level := range []api.Level{api.LevelBaseline, api.LevelRestricted} {
		for minor := 0; minor <= o.newest; minor++ {
			version := api.LevelVersion{Level: level, Version: api.MajorMinorVersion(1, minor)}
			result := policy.AggregateCheckResults(o.evaluator.EvaluatePod(version, metadata, spec))
			if n := len(verdicts); n > 0 && verdicts[n-1].Level == level &&
				fmt.Sprint(verdicts[n-1].Reasons) == fmt.Sprint(result.ForbiddenReasons) &&
				fmt.Sprint(verdicts[n-1].Details) == fmt.Sprint(result.ForbiddenDetails) {
				verdicts[n-1].Last = minor
				continue
			}
			verdicts = append(verdicts, verdict{level, minor, minor, result.ForbiddenReasons, result.ForbiddenDetails})
		}
	}
	return verdicts
}

// stream reads documents as kubectl's FileVisitor does (cli-runtime, pkg/resource/visitor.go), up to the first error.
func stream(data []byte) []document {
	text := transform.NewReader(bytes.NewReader(data), unicode.BOMOverride(unicode.UTF8.NewDecoder()))
	decoder := utilyaml.NewYAMLOrJSONDecoder(text, 4096)
	documents := []document{}
	for {
		extension := runtime.RawExtension{}
		if err := decoder.Decode(&extension); err != nil {
			if !errors.Is(err, io.EOF) {
				documents = append(documents, document{Error: err.Error()})
			}
			return documents
		}
		raw := bytes.TrimSpace(extension.Raw)
		if len(raw) == 0 {
			raw = []byte("null")
		}
		documents = append(documents, document{JSON: raw})
	}
}

func (o *oracle) answer(line []byte) (reply response) {
	defer func() {
		if failure := recover(); failure != nil {
			reply = response{Error: fmt.Sprint("panic: ", failure)}
		}
	}()
	var r request
	if err := json.Unmarshal(line, &r); err != nil {
		return response{Error: err.Error()}
	}
	switch r.Op {
	case "versions":
		return response{Newest: o.newest}
	case "types":
		return response{Types: podTypes()}
	case "stream":
		return response{Documents: stream(r.Data)}
	case "yaml":
		out, err := yaml.YAMLToJSON(r.Data)
		if err != nil {
			return response{Error: err.Error()}
		}
		return response{Documents: []document{{JSON: out}}}
	case "evaluate":
		if r.Metadata == nil {
			r.Metadata = &metav1.ObjectMeta{}
		}
		return response{Verdicts: o.evaluate(r.Metadata, r.Spec)}
	case "admit":
		return o.admit(r.Object)
	case "strategic":
		return answered(strategic(r.Object, r.Patch))
	case "kustomize":
		return answered(kustomize(r.Files))
	case "labels":
		return modes(r.Labels, r.Defaults)
	case "admission":
		config, err := configuration(r.Files)
		if err != nil {
			return response{Error: err.Error()}
		}
		return response{Config: config}
	}
	return response{Error: "unknown op " + r.Op}
}

func main() {
	checks := policy.DefaultChecks()
	evaluator, err := policy.NewEvaluator(checks, nil)
	if err != nil {
		panic(err)
	}
	o := &oracle{evaluator, newestMinor(checks)}
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			if err := encoder.Encode(o.answer(line)); err != nil {
				panic(err)
			}
			if err := out.Flush(); err != nil {
				panic(err)
			}
		}
		if err != nil {
			return
		}
	}
}
