package manifests

import (
	"cmp"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
)

// Our images' tags are the names of the Dockerfile's targets; "latest" is what a build without --target makes.
const imageName = "denoised:"

// stage is a part of the Dockerfile, from one FROM to the next.
type stage struct {
	from, name string
	text       string
}

func readStages(t *testing.T) []stage {
	t.Helper()
	text, err := os.ReadFile("../../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	joined := strings.ReplaceAll(string(text), "\\\n", " ")
	from := regexp.MustCompile(`(?m)^FROM (\S+)(?: AS (\S+))?$`)
	var stages []stage
	begins := from.FindAllStringSubmatchIndex(joined, -1)
	for i, found := range begins {
		end := len(joined)
		if i+1 < len(begins) {
			end = begins[i+1][0]
		}
		names := from.FindStringSubmatch(joined[found[0]:found[1]])
		stages = append(stages, stage{from: names[1], name: names[2], text: joined[found[1]:end]})
	}
	return stages
}

// lineage gives the stage that a tag is built from, then what that begins with, and so on; nothing for an unknown tag.
func lineage(stages []stage, tag string) []stage {
	if tag == "latest" {
		tag = stages[len(stages)-1].from
	}
	var chain []stage
	for i := len(stages) - 1; i >= 0; i-- {
		if stages[i].name == tag {
			chain = append(chain, stages[i])
			tag = stages[i].from
		}
	}
	return chain
}

var installs = regexp.MustCompile(`from=(\S+?),.*/install_in_image\.sh(( \S+)+)`)

// packages gives those that an image is made of, and the stage that makes them.
func packages(chain []stage) (names []string, maker string) {
	for _, part := range chain {
		if found := installs.FindStringSubmatch(part.text); found != nil {
			return strings.Fields(found[2]), found[1]
		}
	}
	return nil, ""
}

// programs gives those of a package, by the rules of installation.
func programs(t *testing.T, name string) []string {
	t.Helper()
	text, err := os.ReadFile("../../../cmake/Packages.cmake")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, rule := range regexp.MustCompile(`install\(TARGETS ([^)]+) COMPONENT (\w+)\)`).FindAllStringSubmatch(string(text), -1) {
		if name == "denoised-"+rule[2] || name == "denoised" && rule[2] == "server" {
			found = append(found, strings.Fields(rule[1])...)
		}
	}
	return found
}

// program is what a container runs in the end: its command, what a shell is told to become, or the image's entry point.
func program(container core.Container, chain []stage) string {
	become := regexp.MustCompile(`\bexec (\S+)`)
	for _, word := range container.Command {
		if found := become.FindStringSubmatch(word); found != nil {
			return path.Base(found[1])
		}
	}
	if len(container.Command) > 0 {
		return path.Base(container.Command[0])
	}
	entry := regexp.MustCompile(`(?m)^ENTRYPOINT \["([^"]+)"\]$`)
	for _, part := range chain {
		if found := entry.FindStringSubmatch(part.text); found != nil {
			return path.Base(found[1])
		}
	}
	return ""
}

// hasProgram looks into an image by the Dockerfile: whether what a container runs is installed there.
func hasProgram(t *testing.T, container core.Container) bool {
	t.Helper()
	chain := lineage(readStages(t), strings.TrimPrefix(container.Image, imageName))
	names, _ := packages(chain)
	for _, name := range names {
		if slices.Contains(programs(t, name), program(container, chain)) {
			return true
		}
	}
	return false
}

func TestEachContainersProgramIsInItsImage(t *testing.T) {
	forEach(t, func(t *testing.T, objects []any) {
		looked := 0
		for _, template := range podTemplates(objects) {
			for _, container := range append(template.Spec.InitContainers, template.Spec.Containers...) {
				if !strings.HasPrefix(container.Image, imageName) {
					continue
				}
				looked++
				if !hasProgram(t, container) {
					t.Errorf("%s has no program of %s: %v", container.Image, container.Name, container.Command)
				}
			}
		}
		if looked == 0 {
			t.Error("no container has an image of ours")
		}
	})
}

// As training once was: in the server's image.
func TestALookIntoAnImageCanFail(t *testing.T) {
	container := podTemplates(objects(t, installations["training"]))[0].Spec.Containers[0]
	for _, tag := range []string{"latest", "cuda", "unknown"} {
		container.Image = imageName + tag
		if hasProgram(t, container) {
			t.Errorf("%s has %v", container.Image, container.Command)
		}
	}
}

func TestEachImageIsOfPackagesThatItsBuildMakes(t *testing.T) {
	makes := regexp.MustCompile(`scripts/package\.sh( --\S+)?`)
	stages := readStages(t)
	for _, tag := range []string{"latest", "cpu", "cuda", "trainer"} {
		names, maker := packages(lineage(stages, tag))
		if len(names) == 0 {
			t.Errorf("%s installs nothing", tag)
		}
		var option string
		for _, part := range lineage(stages, maker) {
			if found := makes.FindStringSubmatch(part.text); found != nil && option == "" {
				option = strings.TrimSpace(found[1])
			}
		}
		for _, name := range names {
			if trainer := name == "denoised-trainer"; trainer != (option == "--trainer") {
				t.Errorf("%s installs %s, which package.sh %s does not make", tag, name, option)
			}
		}
	}
}

func TestImagesRunAsTheUserThatPodsName(t *testing.T) {
	stages := readStages(t)
	for _, tag := range []string{"cpu", "cuda", "trainer"} {
		if chain := lineage(stages, tag); !strings.Contains(chain[0].text, "\nUSER 10001\n") {
			t.Errorf("%s runs as another user", tag)
		}
	}
}

func TestComposeBuildsTheTargetThatItsTagNames(t *testing.T) {
	project, err := load(t, composeFile, "cpu", "gpu")
	if err != nil {
		t.Fatal(err)
	}
	for _, service := range project.Services {
		if service.Build == nil {
			continue
		}
		_, tag, _ := strings.Cut(service.Image, ":")
		if service.Build.Target != tag || len(lineage(readStages(t), cmp.Or(tag, "latest"))) == 0 {
			t.Errorf("%s is built from %q", service.Image, service.Build.Target)
		}
	}
}
