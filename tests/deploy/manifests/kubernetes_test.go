// Package manifests checks what deploy/ holds for Kubernetes, Compose and Grafana against the real thing: kustomize builds it, the
// API's own types decode it with no field unknown, and Kubernetes' own checker finds its pods restricted.
//
//	cd tests/deploy/manifests && go test ./...
package manifests

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	kubeflow "github.com/kubeflow/training-operator/pkg/apis/kubeflow.org/v1"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	disruption "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	gateway "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	adapter "sigs.k8s.io/prometheus-adapter/pkg/config"
	"sigs.k8s.io/yaml"
)

const root = "../../../deploy/kubernetes/"

// What a user applies, and the components on top of an overlay.
var installations = map[string][]string{
	"cpu":              {"overlays/cpu"},
	"gpu":              {"overlays/gpu"},
	"autoscaled":       {"overlays/autoscaled"},
	"behind a gateway": {"overlays/cpu", "components/gateway"},
	"from a claim":     {"overlays/cpu", "components/checkpoint-claim"},
	"from an image":    {"overlays/gpu", "components/checkpoint-image"},
	"from an init":     {"overlays/autoscaled", "components/checkpoint-init"},
	"training":         {"training/job"},
	"PyTorchJob":       {"training/pytorchjob"},
}

// The API's type for each kind that is used here.
var kinds = map[string]func() any{
	"apps/v1 Deployment":                     func() any { return new(apps.Deployment) },
	"v1 Service":                             func() any { return new(core.Service) },
	"v1 PersistentVolumeClaim":               func() any { return new(core.PersistentVolumeClaim) },
	"batch/v1 Job":                           func() any { return new(batch.Job) },
	"policy/v1 PodDisruptionBudget":          func() any { return new(disruption.PodDisruptionBudget) },
	"networking.k8s.io/v1 NetworkPolicy":     func() any { return new(networking.NetworkPolicy) },
	"autoscaling/v2 HorizontalPodAutoscaler": func() any { return new(autoscaling.HorizontalPodAutoscaler) },
	"gateway.networking.k8s.io/v1 GRPCRoute": func() any { return new(gateway.GRPCRoute) },
	"monitoring.coreos.com/v1 PodMonitor":    func() any { return new(monitoring.PodMonitor) },
	"monitoring.coreos.com/v1 PrometheusRule": func() any {
		return new(monitoring.PrometheusRule)
	},
	"kubeflow.org/v1 PyTorchJob": func() any { return new(kubeflow.PyTorchJob) },
}

// decode refuses unknown kinds, unknown fields, fields given twice and values of other types.
func decode(t *testing.T, document []byte) any {
	t.Helper()
	var head meta.TypeMeta
	if err := yaml.Unmarshal(document, &head); err != nil {
		t.Fatal(err)
	}
	create, ok := kinds[head.APIVersion+" "+head.Kind]
	if !ok {
		t.Fatalf("no type for %s %s", head.APIVersion, head.Kind)
	}
	object := create()
	if err := yaml.UnmarshalStrict(document, object); err != nil {
		t.Fatalf("%s: %v\n%s", head.Kind, err, document)
	}
	return object
}

func build(t *testing.T, folder string) [][]byte {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		t.Fatal(err)
	}
	var documents [][]byte
	for _, resource := range resources.Resources() {
		document, err := resource.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, document)
	}
	return documents
}

// objects builds an overlay, with components on top as a user's own kustomization has them.
func objects(t *testing.T, layers []string) []any {
	t.Helper()
	folder := root + layers[0]
	if len(layers) > 1 {
		// Beside the others, as kustomize takes relative paths alone.
		copied := t.TempDir()
		if err := os.CopyFS(copied, os.DirFS(root)); err != nil {
			t.Fatal(err)
		}
		folder = filepath.Join(copied, "own")
		text := "resources: [../" + layers[0] + "]\ncomponents: [../" + strings.Join(layers[1:], ", ../") + "]\n"
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var decoded []any
	for _, document := range build(t, folder) {
		decoded = append(decoded, decode(t, document))
	}
	return decoded
}

// find gives the objects of one type.
func find[T any](objects []any) []*T {
	var found []*T
	for _, object := range objects {
		if typed, ok := object.(*T); ok {
			found = append(found, typed)
		}
	}
	return found
}

func podTemplates(objects []any) []core.PodTemplateSpec {
	var templates []core.PodTemplateSpec
	for _, object := range objects {
		switch workload := object.(type) {
		case *apps.Deployment:
			templates = append(templates, workload.Spec.Template)
		case *batch.Job:
			templates = append(templates, workload.Spec.Template)
		case *kubeflow.PyTorchJob:
			for _, replica := range workload.Spec.PyTorchReplicaSpecs {
				templates = append(templates, replica.Template)
			}
		}
	}
	return templates
}

// forEach runs a test on what each installation consists of.
func forEach(t *testing.T, test func(t *testing.T, objects []any)) {
	for name, layers := range installations {
		t.Run(name, func(t *testing.T) { test(t, objects(t, layers)) })
	}
}

// forEachServer does so where there is a Deployment.
func forEachServer(t *testing.T, test func(t *testing.T, objects []any, deployment *apps.Deployment)) {
	forEach(t, func(t *testing.T, objects []any) {
		for _, deployment := range find[apps.Deployment](objects) {
			test(t, objects, deployment)
		}
	})
}

// evaluate asks the checker that the API server has inside.
func evaluate(t *testing.T, template core.PodTemplateSpec) []policy.CheckResult {
	t.Helper()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks())
	if err != nil {
		t.Fatal(err)
	}
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	return evaluator.EvaluatePod(level, &template.ObjectMeta, &template.Spec)
}

func TestEachFolderIsTried(t *testing.T) {
	tried := map[string]bool{"base": true, "training/volumes": true, "components/monitoring": true}
	for _, layers := range installations {
		for _, layer := range layers {
			tried[layer] = true
		}
	}
	files, err := filepath.Glob(root + "*/kustomization.yaml")
	nested, _ := filepath.Glob(root + "*/*/kustomization.yaml")
	if err != nil || len(files)+len(nested) < 10 {
		t.Fatalf("%d folders found: %v", len(files)+len(nested), err)
	}
	for _, file := range append(files, nested...) {
		folder := strings.TrimPrefix(filepath.Dir(file), root)
		if !tried[folder] {
			t.Errorf("%s is in none of the installations that are tried", folder)
		}
	}
}

func TestEachObjectIsWhatItsTypeTakes(t *testing.T) {
	forEach(t, func(t *testing.T, objects []any) {
		if len(podTemplates(objects)) == 0 {
			t.Error("nothing runs")
		}
	})
}

func TestPodsAreRestricted(t *testing.T) {
	forEach(t, func(t *testing.T, objects []any) {
		for _, template := range podTemplates(objects) {
			for _, result := range evaluate(t, template) {
				if !result.Allowed {
					t.Errorf("%s: %s", result.ForbiddenReason, result.ForbiddenDetail)
				}
			}
		}
	})
}

// As the manifest once was: without a seccomp profile.
func TestACheckOfRestrictionsCanFail(t *testing.T) {
	template := podTemplates(objects(t, installations["cpu"]))[0]
	template.Spec.SecurityContext.SeccompProfile = nil
	for _, result := range evaluate(t, template) {
		if result.ForbiddenReason == "seccompProfile" {
			return
		}
	}
	t.Error("a pod without a seccomp profile passes for restricted")
}

func TestAnUnknownFieldIsRefused(t *testing.T) {
	document := []byte("apiVersion: v1\nkind: Service\nspec: {selektor: {a: b}}\n")
	if err := yaml.UnmarshalStrict(document, new(core.Service)); err == nil || !strings.Contains(err.Error(), "selektor") {
		t.Errorf("selektor is taken: %v", err)
	}
}

func TestEveryContainerHasAReadOnlyRootAndAMemoryLimit(t *testing.T) {
	forEach(t, func(t *testing.T, objects []any) {
		for _, template := range podTemplates(objects) {
			for _, container := range append(template.Spec.InitContainers, template.Spec.Containers...) {
				readOnly := container.SecurityContext.ReadOnlyRootFilesystem
				if readOnly == nil || !*readOnly || container.Resources.Limits.Memory().IsZero() {
					t.Errorf("%s: %+v", container.Name, container.SecurityContext)
				}
			}
			if token := template.Spec.AutomountServiceAccountToken; token == nil || *token {
				t.Error("a pod can call the cluster's API")
			}
			if links := template.Spec.EnableServiceLinks; links == nil || *links {
				t.Error("Services' variables come into the environment, where DENOISED_ means flags")
			}
		}
	})
}

// seconds reads a flag off a container's arguments.
func seconds(t *testing.T, container core.Container, flag string) int64 {
	t.Helper()
	for _, argument := range container.Args {
		if value, ok := strings.CutPrefix(argument, flag+"="); ok {
			number, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return number
		}
	}
	t.Fatalf("%s is not among %v", flag, container.Args)
	return 0
}

// Otherwise a pod is killed while it still draws what it has admitted.
func TestGraceCoversLameDuckAndDrain(t *testing.T) {
	const margin = 12
	forEachServer(t, func(t *testing.T, _ []any, deployment *apps.Deployment) {
		pod := deployment.Spec.Template.Spec
		needed := seconds(t, pod.Containers[0], "--lame_duck") + seconds(t, pod.Containers[0], "--drain_timeout") + margin
		if *pod.TerminationGracePeriodSeconds < needed {
			t.Errorf("%d s of grace for %d s", *pod.TerminationGracePeriodSeconds, needed)
		}
	})
}

// A probe that is late leaves traffic on a replica that goes.
func TestReadinessFindsALameDuckWhileItIsOne(t *testing.T) {
	forEachServer(t, func(t *testing.T, _ []any, deployment *apps.Deployment) {
		container := deployment.Spec.Template.Spec.Containers[0]
		probe := container.ReadinessProbe
		if found := int64(probe.PeriodSeconds * probe.FailureThreshold); found > seconds(t, container, "--lame_duck") {
			t.Errorf("not ready only after %d s", found)
		}
	})
}

func TestProbesAskThreeQuestions(t *testing.T) {
	forEachServer(t, func(t *testing.T, _ []any, deployment *apps.Deployment) {
		container := deployment.Spec.Template.Spec.Containers[0]
		startup, readiness, liveness := container.StartupProbe.GRPC, container.ReadinessProbe.GRPC, container.LivenessProbe.HTTPGet
		if startup == nil || startup.Service != nil {
			t.Errorf("startup does not ask for health as a whole: %+v", startup)
		}
		if readiness == nil || readiness.Service == nil || *readiness.Service != "denoised.v1.DigitService" {
			t.Errorf("readiness does not ask for the service: %+v", readiness)
		}
		// Health says no during a drain and while an engine is built anew: a restart then would lose what is being drawn.
		if container.LivenessProbe.GRPC != nil || liveness == nil || liveness.Path != "/livez" {
			t.Errorf("liveness does not ask whether the process is deaf: %+v", container.LivenessProbe)
		}
	})
}

func matches(t *testing.T, selector *meta.LabelSelector, pod map[string]string) bool {
	t.Helper()
	parsed, err := meta.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	return !parsed.Empty() && parsed.Matches(labels.Set(pod))
}

// portNumber is the number of a container's port, by name or number; 0 if there is none.
func portNumber(pod core.PodSpec, port intstr.IntOrString) int32 {
	for _, candidate := range pod.Containers[0].Ports {
		if candidate.Name == port.StrVal || candidate.ContainerPort == port.IntVal {
			return candidate.ContainerPort
		}
	}
	return 0
}

func TestSelectorsAndPortsMeetThePods(t *testing.T) {
	forEachServer(t, func(t *testing.T, objects []any, deployment *apps.Deployment) {
		pod := deployment.Spec.Template
		check := func(what string, selector *meta.LabelSelector) {
			if !matches(t, selector, pod.Labels) {
				t.Errorf("%s selects other pods: %v", what, selector)
			}
		}
		check("Deployment", deployment.Spec.Selector)
		for _, constraint := range pod.Spec.TopologySpreadConstraints {
			check("spread over "+constraint.TopologyKey, constraint.LabelSelector)
		}
		for _, budget := range find[disruption.PodDisruptionBudget](objects) {
			check("budget", budget.Spec.Selector)
		}
		for _, monitor := range find[monitoring.PodMonitor](objects) {
			check("PodMonitor", &monitor.Spec.Selector)
			for _, endpoint := range monitor.Spec.PodMetricsEndpoints {
				if portNumber(pod.Spec, intstr.FromString(*endpoint.Port)) != 9464 {
					t.Errorf("PodMonitor scrapes %s", *endpoint.Port)
				}
			}
		}
		for _, rule := range find[networking.NetworkPolicy](objects) {
			check("NetworkPolicy", &rule.Spec.PodSelector)
			for _, ingress := range rule.Spec.Ingress {
				for _, port := range ingress.Ports {
					if portNumber(pod.Spec, *port.Port) == 0 {
						t.Errorf("NetworkPolicy opens %v, which no container has", port.Port)
					}
				}
			}
		}
		for _, service := range find[core.Service](objects) {
			check("Service "+service.Name, &meta.LabelSelector{MatchLabels: service.Spec.Selector})
			if portNumber(pod.Spec, service.Spec.Ports[0].TargetPort) != 50051 {
				t.Errorf("Service %s leads to %v", service.Name, service.Spec.Ports[0])
			}
		}
	})
}

func TestThereIsAHeadlessServiceForClientsThatBalance(t *testing.T) {
	forEachServer(t, func(t *testing.T, objects []any, _ *apps.Deployment) {
		for _, service := range find[core.Service](objects) {
			if service.Name == "denoised" && service.Spec.ClusterIP == core.ClusterIPNone {
				return
			}
		}
		t.Error("no headless Service denoised")
	})
}

func TestTheRouteLeadsToAService(t *testing.T) {
	objects := objects(t, installations["behind a gateway"])
	route := find[gateway.GRPCRoute](objects)[0]
	backend := route.Spec.Rules[0].BackendRefs[0]
	for _, service := range find[core.Service](objects) {
		if service.Name == string(backend.Name) && service.Spec.Ports[0].Port == int32(*backend.Port) {
			return
		}
	}
	t.Errorf("no Service %s:%d", backend.Name, *backend.Port)
}

func TestGpuReplicasAskForOneOnNodesThatHaveThem(t *testing.T) {
	deployment := find[apps.Deployment](objects(t, installations["gpu"]))[0]
	pod := deployment.Spec.Template.Spec
	if gpus := pod.Containers[0].Resources.Limits["nvidia.com/gpu"]; gpus.Value() != 1 {
		t.Errorf("%v GPUs", gpus)
	}
	if pod.RuntimeClassName == nil || *pod.RuntimeClassName != "nvidia" || len(pod.Tolerations) == 0 {
		t.Errorf("class %v, tolerations %v", pod.RuntimeClassName, pod.Tolerations)
	}
	if arguments := strings.Join(pod.Containers[0].Args, " "); !strings.Contains(arguments, "--device=cuda") {
		t.Errorf("%s", arguments)
	}
	// The base's own, which a patch of the list replaces.
	base := find[apps.Deployment](objects(t, installations["cpu"]))[0].Spec.Template.Spec.Containers[0].Args
	for _, argument := range base {
		if !strings.Contains(strings.Join(pod.Containers[0].Args, " "), argument) {
			t.Errorf("the patch has lost %s", argument)
		}
	}
}

func TestTheAutoscalerHasItsFiguresAndTheNumberOfReplicas(t *testing.T) {
	objects := objects(t, installations["autoscaled"])
	if replicas := find[apps.Deployment](objects)[0].Spec.Replicas; replicas != nil {
		t.Errorf("each apply sets %d replicas", *replicas)
	}
	text, err := os.ReadFile(root + "overlays/autoscaled/prometheus_adapter.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rules adapter.MetricsDiscoveryConfig
	if err := yaml.UnmarshalStrict(text, &rules); err != nil {
		t.Fatal(err)
	}
	golden, err := os.ReadFile("../../server/metrics/metrics_test.cc")
	if err != nil {
		t.Fatal(err)
	}
	served := map[string]bool{}
	for _, rule := range rules.Rules {
		series := rule.SeriesQuery[:strings.Index(rule.SeriesQuery, "{")]
		if !bytes.Contains(golden, []byte(" "+strings.TrimSuffix(series, "_sum")+`"`)) {
			t.Errorf("the server has no %s", series)
		}
		if rule.Name.As != "" {
			series = rule.Name.As
		}
		served[series] = true
	}
	metrics := find[autoscaling.HorizontalPodAutoscaler](objects)[0].Spec.Metrics
	if len(metrics) == 0 {
		t.Error("no metrics")
	}
	for _, metric := range metrics {
		if !served[metric.Pods.Metric.Name] {
			t.Errorf("no rule of prometheus-adapter gives %s", metric.Pods.Metric.Name)
		}
	}
}

func TestPrometheusRulesAreTheOnesThatAreTested(t *testing.T) {
	output, err := exec.Command(root + "prometheus_rules.sh").Output()
	if err != nil {
		t.Fatal(err)
	}
	documents := regexp.MustCompile(`(?m)^---$`).Split(string(output), -1)[1:]
	rules := 0
	for _, document := range documents {
		for _, group := range decode(t, []byte(document)).(*monitoring.PrometheusRule).Spec.Groups {
			rules += len(group.Rules)
		}
	}
	if len(documents) != 2 || rules < 40 {
		t.Errorf("%d documents with %d rules", len(documents), rules)
	}
}
