// Command kubernetes checks manifests: every object must decode into the type of its kind
// in k8s.io/api, without an unknown or repeated field.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

func main() {
	for _, file := range os.Args[1:] {
		n, err := check(file)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s, object %d: %v\n", file, n+1, err)
			os.Exit(1)
		}
		fmt.Printf("%s: %d objects are valid\n", file, n)
	}
}

func check(file string) (n int, err error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	objects := utilyaml.NewYAMLReader(bufio.NewReader(f))
	for ; ; n++ {
		object, err := objects.Read()
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		var kind struct{ APIVersion, Kind string }
		if err := yaml.Unmarshal(object, &kind); err != nil {
			return n, err
		}
		var into any
		switch kind.APIVersion + " " + kind.Kind {
		case "v1 Secret":
			into = new(corev1.Secret)
		case "v1 ConfigMap":
			into = new(corev1.ConfigMap)
		case "v1 Service":
			into = new(corev1.Service)
		case "apps/v1 Deployment":
			into = new(appsv1.Deployment)
		case "policy/v1 PodDisruptionBudget":
			into = new(policyv1.PodDisruptionBudget)
		default:
			return n, fmt.Errorf("unknown kind %s %s", kind.APIVersion, kind.Kind)
		}
		if err := yaml.UnmarshalStrict(object, into); err != nil {
			return n, err
		}
	}
}
