package manifests

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// load reads a file as docker compose does, its schema and references checked.
func load(t *testing.T, file string, profiles ...string) (*types.Project, error) {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{file}, cli.WithProfiles(profiles), cli.WithoutEnvironmentResolution)
	if err != nil {
		t.Fatal(err)
	}
	return options.LoadProject(context.Background())
}

const composeFile = "../../../deploy/compose.yaml"

func TestComposeHasAServerOnEitherHardware(t *testing.T) {
	for _, profile := range []string{"cpu", "gpu"} {
		project, err := load(t, composeFile, profile)
		if err != nil {
			t.Fatal(err)
		}
		if names := project.ServiceNames(); len(names) != 3 {
			t.Errorf("%s: %v", profile, names)
		}
		server, err := project.GetService("denoised-" + profile)
		if err != nil {
			t.Fatal(err)
		}
		if aliases := server.Networks["default"].Aliases; len(aliases) != 1 || aliases[0] != "denoised" {
			t.Errorf("Prometheus does not find %s by %v", server.Name, aliases)
		}
		if gpu := server.Deploy != nil && server.Deploy.Resources.Reservations.Devices[0].Driver == "nvidia"; gpu != (profile == "gpu") {
			t.Errorf("%s has a GPU: %v", server.Name, gpu)
		}
	}
}

// Whoever has no token may draw: on a network that is for whoever runs this to allow.
func TestComposeShowsThePageToThisMachineAlone(t *testing.T) {
	for _, profile := range []string{"cpu", "gpu"} {
		project, err := load(t, composeFile, profile)
		if err != nil {
			t.Fatal(err)
		}
		server := project.Services["denoised-"+profile]
		listen := server.Environment["DENOISED_HTTP_LISTEN"]
		if listen == nil || *listen != "0.0.0.0:8080" {
			t.Errorf("%s does not listen to its container's address", server.Name)
		}
		published := false
		for _, port := range server.Ports {
			if port.Target == 8080 {
				published = port.Published == "8080" && port.HostIP == "127.0.0.1"
			}
		}
		if !published {
			t.Errorf("%s: %+v", server.Name, server.Ports)
		}
	}
}

func TestComposeMountsWhatIsThere(t *testing.T) {
	project, err := load(t, composeFile)
	if err != nil {
		t.Fatal(err)
	}
	mounts := 0
	for _, service := range project.Services {
		for _, volume := range service.Volumes {
			if volume.Type != types.VolumeTypeBind {
				continue
			}
			mounts++
			if _, err := os.Stat(volume.Source); err != nil {
				t.Error(err)
			}
		}
	}
	if mounts < 3 {
		t.Errorf("%d mounts", mounts)
	}
}

func TestComposeRefusesAKeyThatItDoesNotKnow(t *testing.T) {
	text, err := os.ReadFile(composeFile)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "compose.yaml")
	wrong := strings.Replace(string(text), "stop_grace_period", "stop_grace_periode", 1)
	if err := os.WriteFile(file, []byte(wrong), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := load(t, file, "cpu"); err == nil || !strings.Contains(err.Error(), "stop_grace_periode") {
		t.Errorf("%v", err)
	}
}
