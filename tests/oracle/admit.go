package main

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/apps"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	"k8s.io/kubernetes/pkg/apis/batch"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	corev1conversion "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/capabilities"
	podregistry "k8s.io/kubernetes/pkg/registry/core/pod"
)

func init() {
	// As kube-apiserver runs with --allow-privileged=true, what clusters do.
	capabilities.Setup(true, 0)
}

// template finds the pod template of a decoded internal object.
func template(object runtime.Object) *core.PodTemplateSpec {
	switch o := object.(type) {
	case *apps.Deployment:
		return &o.Spec.Template
	case *apps.ReplicaSet:
		return &o.Spec.Template
	case *apps.StatefulSet:
		return &o.Spec.Template
	case *apps.DaemonSet:
		return &o.Spec.Template
	case *batch.Job:
		return &o.Spec.Template
	case *batch.CronJob:
		return &o.Spec.JobTemplate.Spec.Template
	case *core.ReplicationController:
		return o.Spec.Template
	case *core.PodTemplate:
		return &o.Template
	}
	return nil
}

// admit runs what the API server runs before the Pod Security plugin sees a created object.
func (o *oracle) admit(raw []byte) response {
	object, _, err := legacyscheme.Codecs.UniversalDecoder().Decode(raw, nil, nil)
	if err != nil {
		return response{Error: err.Error()}
	}
	if pod, ok := object.(*core.Pod); ok {
		podregistry.Strategy.PrepareForCreate(context.Background(), pod)
		options := podutil.GetValidationOptionsFromPodSpecAndMeta(&pod.Spec, nil, &pod.ObjectMeta, nil)
		options.ResourceIsPod = true
		invalid := validation.ValidatePodCreate(pod, options)
		external := &corev1.Pod{}
		if err := legacyscheme.Scheme.Convert(pod, external, nil); err != nil {
			return response{Error: err.Error()}
		}
		return response{Verdicts: o.evaluate(&external.ObjectMeta, &external.Spec), Invalid: messages(invalid)}
	}
	internal := template(object)
	if internal == nil {
		return response{Error: "no pod template"}
	}
	options := podutil.GetValidationOptionsFromPodTemplate(internal, nil)
	invalid := validation.ValidatePodTemplateSpec(internal, field.NewPath("template"), options)
	external := &corev1.PodTemplateSpec{}
	if err := corev1conversion.Convert_core_PodTemplateSpec_To_v1_PodTemplateSpec(internal, external, nil); err != nil {
		return response{Error: err.Error()}
	}
	return response{Verdicts: o.evaluate(&external.ObjectMeta, &external.Spec), Invalid: messages(invalid)}
}

func messages(list field.ErrorList) []string {
	out := []string{}
	for _, err := range list {
		out = append(out, err.Error())
	}
	return out
}
