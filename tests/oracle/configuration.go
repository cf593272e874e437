package main

import (
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	admissionapi "k8s.io/pod-security-admission/admission/api"
	"k8s.io/pod-security-admission/admission/api/load"
	"k8s.io/pod-security-admission/admission/api/validation"
	"k8s.io/pod-security-admission/api"
)

// modes returns "level:version" for each mode of Pod Security admission, and what is wrong with the labels; the API
// server's defaults are given alike.
func modes(labels, defaults map[string]string) response {
	given := func(mode string) (string, string) {
		level, version, found := strings.Cut(defaults[mode], ":")
		if !found {
			return string(api.LevelPrivileged), api.VersionLatest
		}
		return level, version
	}
	configured := admissionapi.PodSecurityDefaults{}
	configured.Enforce, configured.EnforceVersion = given("enforce")
	configured.Audit, configured.AuditVersion = given("audit")
	configured.Warn, configured.WarnVersion = given("warn")
	fallback, err := admissionapi.ToPolicy(configured)
	if err != nil {
		return response{Error: err.Error()}
	}
	p, faults := api.PolicyToEvaluate(labels, fallback)
	reply := response{Modes: map[string]string{
		"enforce": p.Enforce.String(), "audit": p.Audit.String(), "warn": p.Warn.String(),
	}}
	for _, fault := range faults {
		reply.Invalid = append(reply.Invalid, fault.Error())
	}
	return reply
}

// configuration reads the files as an API server does that is started with config.yaml as its admission configuration.
func configuration(files map[string]string) (*admissionapi.PodSecurityConfiguration, error) {
	directory, err := os.MkdirTemp("", "oracle")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(directory)
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(directory, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	scheme := runtime.NewScheme()
	install.Install(scheme)
	provider, err := admission.ReadAdmissionConfiguration(
		[]string{"PodSecurity"}, filepath.Join(directory, "config.yaml"), scheme)
	if err != nil {
		return nil, err
	}
	reader, err := provider.ConfigFor("PodSecurity")
	if err != nil {
		return nil, err
	}
	config, err := load.LoadFromReader(reader)
	if err != nil {
		return nil, err
	}
	return config, validation.ValidatePodSecurityConfiguration(config).ToAggregate()
}
