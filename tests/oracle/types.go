package main

import (
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Types whose JSON form is not that of their Go struct.
var special = map[reflect.Type]string{
	reflect.TypeFor[resource.Quantity]():  "quantity",
	reflect.TypeFor[intstr.IntOrString](): "int-or-string",
	reflect.TypeFor[metav1.Time]():        "time",
	reflect.TypeFor[metav1.MicroTime]():   "time",
	reflect.TypeFor[metav1.Duration]():    "string",
	reflect.TypeFor[metav1.FieldsV1]():    "any",
}

// podTypes describes the JSON form of a pod template: type name → field → type, where a type is
// a name of this table, a scalar, "[]" and the item's type, or "{}" and the value's type.
func podTypes() map[string]map[string]string {
	table := map[string]map[string]string{}
	name(reflect.TypeFor[corev1.PodTemplateSpec](), table)
	return table
}

func name(t reflect.Type, table map[string]map[string]string) string {
	if known, ok := special[t]; ok {
		return known
	}
	switch t.Kind() {
	case reflect.Pointer:
		return name(t.Elem(), table)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "bytes"
		}
		return "[]" + name(t.Elem(), table)
	case reflect.Map:
		return "{}" + name(t.Elem(), table)
	case reflect.Struct:
		if _, ok := table[t.Name()]; !ok {
			fields := map[string]string{}
			table[t.Name()] = fields
			collect(t, fields, table)
		}
		return t.Name()
	}
	return t.Kind().String()
}

func collect(t reflect.Type, fields map[string]string, table map[string]map[string]string) {
	for i := range t.NumField() {
		field := t.Field(i)
		tag, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case tag == "-":
		case tag == "" && field.Anonymous:
			collect(field.Type, fields, table)
		default:
			fields[tag] = name(field.Type, table)
		}
	}
}
