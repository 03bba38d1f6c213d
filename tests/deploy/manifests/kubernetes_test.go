// Package manifests checks what deploy/ holds for Kubernetes, Compose and Grafana against the real thing: kustomize builds it, the
// API's own types decode it with no field unknown, and Kubernetes' own checker finds its pods restricted.
//
//	cd tests/deploy/manifests && go test ./...
package manifests

import (
	"bytes"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	keda "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	kubeflow "github.com/kubeflow/training-operator/pkg/apis/kubeflow.org/v1"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	disruption "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
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
	"cpu":               {"overlays/cpu"},
	"gpu":               {"overlays/gpu"},
	"autoscaled":        {"overlays/autoscaled"},
	"behind a gateway":  {"overlays/cpu", "components/gateway"},
	"from a claim":      {"overlays/cpu", "components/checkpoint-claim"},
	"from an image":     {"overlays/gpu", "components/checkpoint-image"},
	"from an init":      {"overlays/autoscaled", "components/checkpoint-init"},
	"over TLS":          {"overlays/cpu", "components/tls"},
	"for token holders": {"overlays/gpu", "components/tls", "components/tokens"},
	"with a page":       {"overlays/cpu", "components/page"},
	"a page outside":    {"overlays/cpu", "components/page", "components/page-gateway"},
	"with traces":       {"overlays/cpu", "components/traces"},
	"by KEDA":           {"overlays/cpu", "components/keda"},
	"GPUs by KEDA":      {"overlays/gpu", "components/keda"},
	"all at once": {"overlays/autoscaled", "components/gateway", "components/page", "components/page-gateway",
		"components/traces", "components/tls", "components/tokens", "components/checkpoint-claim"},
	"training":   {"training/job"},
	"PyTorchJob": {"training/pytorchjob"},
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
	"gateway.networking.k8s.io/v1 HTTPRoute": func() any { return new(gateway.HTTPRoute) },
	"monitoring.coreos.com/v1 PodMonitor":    func() any { return new(monitoring.PodMonitor) },
	"monitoring.coreos.com/v1 PrometheusRule": func() any {
		return new(monitoring.PrometheusRule)
	},
	"keda.sh/v1alpha1 ScaledObject": func() any { return new(keda.ScaledObject) },
	"kubeflow.org/v1 PyTorchJob":    func() any { return new(kubeflow.PyTorchJob) },
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
	const margin = 17 // server.h, kMostClosingSeconds
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

// variable gives a container's environment variable; nothing if it has none of that name.
func variable(container core.Container, name string) string {
	for _, candidate := range container.Env {
		if candidate.Name == name {
			return candidate.Value
		}
	}
	return ""
}

// With TLS they ask by HTTP, where health has one answer for both questions: the kubelet's gRPC probes cannot speak it.
func TestProbesAskThreeQuestions(t *testing.T) {
	forEachServer(t, func(t *testing.T, _ []any, deployment *apps.Deployment) {
		container := deployment.Spec.Template.Spec.Containers[0]
		if variable(container, "DENOISED_TLS_CERT") != "" {
			for _, probe := range []*core.Probe{container.StartupProbe, container.ReadinessProbe} {
				if probe.GRPC != nil || probe.HTTPGet == nil || probe.HTTPGet.Path != "/healthz" {
					t.Errorf("with TLS a probe asks by other means than /healthz: %+v", probe.ProbeHandler)
				}
			}
		} else {
			startup, readiness := container.StartupProbe.GRPC, container.ReadinessProbe.GRPC
			if startup == nil || startup.Service != nil {
				t.Errorf("startup does not ask for health as a whole: %+v", startup)
			}
			if readiness == nil || readiness.Service == nil || *readiness.Service != "denoised.v1.DigitService" {
				t.Errorf("readiness does not ask for the service: %+v", readiness)
			}
		}
		// Health says no during a drain and while an engine is built anew: a restart then would lose what is being drawn.
		liveness := container.LivenessProbe.HTTPGet
		if container.LivenessProbe.GRPC != nil || liveness == nil || liveness.Path != "/livez" {
			t.Errorf("liveness does not ask whether the process is deaf: %+v", container.LivenessProbe)
		}
	})
}

func TestProbesByHttpAskTheMetricsPortInTheClear(t *testing.T) {
	forEachServer(t, func(t *testing.T, _ []any, deployment *apps.Deployment) {
		pod := deployment.Spec.Template.Spec
		container := pod.Containers[0]
		for _, probe := range []*core.Probe{container.StartupProbe, container.ReadinessProbe, container.LivenessProbe} {
			if get := probe.HTTPGet; get != nil && (portNumber(pod, get.Port) != 9464 || get.Scheme == core.URISchemeHTTPS) {
				t.Errorf("%+v", get)
			}
		}
	})
}

// secretOf gives the Secret that a file in the container comes from, if those of its group may read it and nobody else.
func secretOf(pod core.PodSpec, file string) string {
	for _, mount := range pod.Containers[0].VolumeMounts {
		// By subPath, a file would never change.
		if mount.MountPath != path.Dir(file) || !mount.ReadOnly || mount.SubPath != "" {
			continue
		}
		for _, volume := range pod.Volumes {
			if secret := volume.Secret; volume.Name == mount.Name && secret != nil && *secret.DefaultMode == 0o440 &&
				*pod.SecurityContext.FSGroup == *pod.SecurityContext.RunAsGroup {
				return secret.SecretName
			}
		}
	}
	return ""
}

func TestCertificatesAndTokensAreSecretsThatTheServerMayRead(t *testing.T) {
	found := map[string]bool{}
	forEachServer(t, func(t *testing.T, _ []any, deployment *apps.Deployment) {
		pod := deployment.Spec.Template.Spec
		for name, secret := range map[string]string{
			"DENOISED_TLS_CERT": "denoised-tls", "DENOISED_TLS_KEY": "denoised-tls", "DENOISED_TOKENS": "denoised-tokens",
		} {
			file := variable(pod.Containers[0], name)
			found[name] = found[name] || file != ""
			if file != "" && secretOf(pod, file) != secret {
				t.Errorf("%s is %s, which is no file of %s for the server's group alone", name, file, secret)
			}
		}
	})
	if len(found) != 3 || !found["DENOISED_TLS_CERT"] || !found["DENOISED_TLS_KEY"] || !found["DENOISED_TOKENS"] {
		t.Errorf("not every file was there to look at: %v", found)
	}
}

// Otherwise it does not start.
func TestTokensComeOverTls(t *testing.T) {
	forEachServer(t, func(t *testing.T, _ []any, deployment *apps.Deployment) {
		container := deployment.Spec.Template.Spec.Containers[0]
		if variable(container, "DENOISED_TOKENS") != "" && variable(container, "DENOISED_TLS_CERT") == "" {
			t.Error("tokens in the clear")
		}
	})
}

func TestServicesTellWhetherThereIsTls(t *testing.T) {
	forEachServer(t, func(t *testing.T, objects []any, deployment *apps.Deployment) {
		expected := "kubernetes.io/h2c"
		if variable(deployment.Spec.Template.Spec.Containers[0], "DENOISED_TLS_CERT") != "" {
			expected = "https"
		}
		for _, service := range find[core.Service](objects) {
			for _, port := range service.Spec.Ports {
				if port.Name == "grpc" && *port.AppProtocol != expected {
					t.Errorf("Service %s says %s instead of %s", service.Name, *port.AppProtocol, expected)
				}
			}
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
			for _, port := range service.Spec.Ports {
				if expected := map[string]int32{"grpc": 50051, "page": 8080}[port.Name]; expected == 0 ||
					portNumber(pod.Spec, port.TargetPort) != expected {
					t.Errorf("Service %s leads to %v", service.Name, port)
				}
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

// leadsToAService tells whether a route's backend is a port of one of the Services.
func leadsToAService(objects []any, backend gateway.BackendObjectReference) bool {
	for _, service := range find[core.Service](objects) {
		if service.Name == string(backend.Name) && service.Spec.Ports[0].Port == int32(*backend.Port) {
			return true
		}
	}
	return false
}

func TestRoutesLeadToServices(t *testing.T) {
	objects := objects(t, installations["all at once"])
	calls, page := find[gateway.GRPCRoute](objects)[0].Spec, find[gateway.HTTPRoute](objects)[0].Spec
	for _, backend := range []gateway.BackendObjectReference{
		calls.Rules[0].BackendRefs[0].BackendObjectReference, page.Rules[0].BackendRefs[0].BackendObjectReference,
	} {
		if !leadsToAService(objects, backend) {
			t.Errorf("no Service %s:%d", backend.Name, *backend.Port)
		}
	}
	// Of two such for the same name a gateway takes one.
	if calls.Hostnames[0] == page.Hostnames[0] {
		t.Errorf("both routes are for %s", page.Hostnames[0])
	}
}

// opened gives the ports that policies let in, by the containers' numbers.
func opened(pod core.PodSpec, policies []*networking.NetworkPolicy) map[int32]bool {
	ports := map[int32]bool{}
	for _, policy := range policies {
		for _, rule := range policy.Spec.Ingress {
			for _, port := range rule.Ports {
				ports[portNumber(pod, *port.Port)] = true
			}
		}
	}
	return ports
}

// A port is of use where the server listens to it, the policy lets callers in, and a Service leads there: all or none.
func TestThePageIsThereForAllOrNotAtAll(t *testing.T) {
	pages := 0
	forEachServer(t, func(t *testing.T, objects []any, deployment *apps.Deployment) {
		pod := deployment.Spec.Template.Spec
		listens := variable(pod.Containers[0], "DENOISED_HTTP_LISTEN") == "0.0.0.0:8080"
		has := portNumber(pod, intstr.FromString("page")) == 8080
		open := opened(pod, find[networking.NetworkPolicy](objects))[8080]
		served := false
		for _, service := range find[core.Service](objects) {
			served = served || service.Spec.Ports[0].Name == "page"
		}
		if has != listens || open != listens || served != listens {
			t.Errorf("listens %v, port %v, open %v, Service %v", listens, has, open, served)
		}
		if listens {
			pages++
		}
	})
	if pages == 0 {
		t.Error("no installation has a page")
	}
}

// lets tells whether policies let a pod call a port in a namespace.
func lets(policies []*networking.NetworkPolicy, namespace string, protocol core.Protocol, port int32) bool {
	for _, policy := range policies {
		for _, rule := range policy.Spec.Egress {
			for _, peer := range rule.To {
				if peer.NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"] != namespace {
					continue
				}
				for _, candidate := range rule.Ports {
					if tcp := candidate.Protocol == nil; candidate.Port.IntVal == port &&
						(tcp && protocol == core.ProtocolTCP || !tcp && *candidate.Protocol == protocol) {
						return true
					}
				}
			}
		}
	}
	return false
}

func TestWhoSendsTracesMayAndNobodyElseCallsAnybody(t *testing.T) {
	traced := 0
	forEachServer(t, func(t *testing.T, objects []any, deployment *apps.Deployment) {
		policies := find[networking.NetworkPolicy](objects)
		endpoint := variable(deployment.Spec.Template.Spec.Containers[0], "DENOISED_OTLP_ENDPOINT")
		if endpoint == "" {
			for _, policy := range policies {
				if len(policy.Spec.Egress) != 0 {
					t.Errorf("%s lets it out", policy.Name)
				}
			}
			return
		}
		traced++
		host, port, _ := strings.Cut(endpoint, ":")
		number, err := strconv.ParseInt(port, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		_, namespace, _ := strings.Cut(host, ".")
		if !lets(policies, namespace, core.ProtocolTCP, int32(number)) {
			t.Errorf("no policy lets it call %s", endpoint)
		}
		for _, protocol := range []core.Protocol{core.ProtocolUDP, core.ProtocolTCP} {
			if !lets(policies, "kube-system", protocol, 53) {
				t.Errorf("it cannot look up %s by %s", host, protocol)
			}
		}
	})
	if traced == 0 {
		t.Error("no installation sends traces")
	}
}

// Kubernetes puts in only what stands before.
func TestVariablesComeAfterThoseThatTheyName(t *testing.T) {
	reference := regexp.MustCompile(`\$\((\w+)\)`)
	forEach(t, func(t *testing.T, objects []any) {
		for _, template := range podTemplates(objects) {
			before := map[string]bool{}
			for _, candidate := range template.Spec.Containers[0].Env {
				for _, named := range reference.FindAllStringSubmatch(candidate.Value, -1) {
					if !before[named[1]] {
						t.Errorf("%s: %s is not known yet", candidate.Name, named[0])
					}
				}
				before[candidate.Name] = true
			}
		}
	})
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

func TestWhereThereIsAnAutoscalerTheNumberOfReplicasIsItsOwn(t *testing.T) {
	forEachServer(t, func(t *testing.T, objects []any, deployment *apps.Deployment) {
		autoscalers := len(find[autoscaling.HorizontalPodAutoscaler](objects)) + len(find[keda.ScaledObject](objects))
		if replicas := deployment.Spec.Replicas; autoscalers > 1 || (autoscalers == 1) != (replicas == nil) {
			t.Errorf("%d autoscalers, and each apply sets %v replicas", autoscalers, replicas)
		}
	})
}

func TestTheAutoscalerHasItsFigures(t *testing.T) {
	objects := objects(t, installations["autoscaled"])
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

// kedaParameters gives the names that KEDA's scaler for Prometheus reads off a trigger: what it does not know it passes over.
func kedaParameters(t *testing.T) map[string]bool {
	t.Helper()
	folder, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/kedacore/keda/v2").Output()
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(strings.TrimSpace(string(folder)) + "/pkg/scalers/prometheus_scaler.go")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, found := range regexp.MustCompile("keda:\"name=(\\w+)").FindAllStringSubmatch(string(source), -1) {
		names[found[1]] = true
	}
	return names
}

func TestKedaTakesTheScaledObject(t *testing.T) {
	scaled := find[keda.ScaledObject](objects(t, installations["by KEDA"]))[0]
	if err := keda.CheckReplicaCountBoundsAreValid(scaled); err != nil {
		t.Error(err)
	}
	if err := keda.ValidateTriggers(scaled.Spec.Triggers); err != nil {
		t.Error(err)
	}
	known := kedaParameters(t)
	for _, trigger := range scaled.Spec.Triggers {
		for name := range trigger.Metadata {
			if !known[name] {
				t.Errorf("KEDA knows no %s", name)
			}
		}
		for _, needed := range []string{"serverAddress", "query", "threshold"} {
			if trigger.Metadata[needed] == "" {
				t.Errorf("%s has no %s", trigger.Name, needed)
			}
		}
		// By default it takes no figures for no load, and sends replicas away when Prometheus is.
		if trigger.Type != "prometheus" || trigger.Metadata["ignoreNullValues"] != "false" {
			t.Errorf("%+v", trigger)
		}
	}
}

// Whoever changes from one to the other keeps what was learnt of the load.
func TestBothAutoscalersDoTheSame(t *testing.T) {
	scaled := find[keda.ScaledObject](objects(t, installations["by KEDA"]))[0].Spec
	other := find[autoscaling.HorizontalPodAutoscaler](objects(t, installations["autoscaled"]))[0].Spec
	if *scaled.MinReplicaCount != *other.MinReplicas || *scaled.MaxReplicaCount != other.MaxReplicas ||
		scaled.ScaleTargetRef.Name != other.ScaleTargetRef.Name {
		t.Errorf("%+v", scaled)
	}
	if !reflect.DeepEqual(scaled.Advanced.HorizontalPodAutoscalerConfig.Behavior, other.Behavior) {
		t.Errorf("%+v instead of %+v", scaled.Advanced.HorizontalPodAutoscalerConfig.Behavior, other.Behavior)
	}
	if len(scaled.Triggers) != len(other.Metrics) {
		t.Fatalf("%d triggers and %d metrics", len(scaled.Triggers), len(other.Metrics))
	}
	for i, metric := range other.Metrics {
		trigger, target := scaled.Triggers[i], metric.Pods.Target
		if threshold := resource.MustParse(trigger.Metadata["threshold"]); trigger.MetricType != target.Type ||
			threshold.Cmp(*target.AverageValue) != 0 {
			t.Errorf("%s: %s instead of %s", trigger.Name, trigger.Metadata["threshold"], target.AverageValue)
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
