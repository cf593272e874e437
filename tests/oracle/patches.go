package main

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// strategic applies a strategic merge patch as kubectl patch does.
func strategic(object, patch []byte) (response, error) {
	var kind struct{ APIVersion, Kind string }
	if err := json.Unmarshal(object, &kind); err != nil {
		return response{}, err
	}
	versioned, err := scheme.Scheme.New(schema.FromAPIVersionAndKind(kind.APIVersion, kind.Kind))
	if err != nil {
		return response{}, err
	}
	out, err := strategicpatch.StrategicMergePatch(object, patch, versioned)
	return response{Documents: []document{{JSON: out}}}, err
}

// kustomize builds a directory that is given as file name → text.
func kustomize(files map[string]string) (response, error) {
	disk := filesys.MakeFsInMemory()
	for name, text := range files {
		if err := disk.WriteFile("/base/"+name, []byte(text)); err != nil {
			return response{}, err
		}
	}
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(disk, "/base")
	if err != nil {
		return response{}, err
	}
	var built response
	for _, resource := range resources.Resources() {
		out, err := resource.MarshalJSON()
		if err != nil {
			return response{}, err
		}
		built.Documents = append(built.Documents, document{JSON: out})
	}
	return built, nil
}

func answered(r response, err error) response {
	if err != nil {
		return response{Error: fmt.Sprint(err)}
	}
	return r
}
