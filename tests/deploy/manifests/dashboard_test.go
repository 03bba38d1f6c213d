package manifests

import (
	"os"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"sigs.k8s.io/yaml"
)

const grafana = "../../../deploy/grafana/"

func init() {
	runtime := cog.NewRuntime()
	runtime.RegisterPanelcfgVariant(stat.VariantConfig())
	runtime.RegisterPanelcfgVariant(table.VariantConfig())
	runtime.RegisterPanelcfgVariant(timeseries.VariantConfig())
	runtime.RegisterDataqueryVariant(prometheus.VariantConfig())
}

// decodeDashboard takes what Grafana's own types take, options of each kind of panel included, and no field unknown.
func decodeDashboard(text []byte) (dashboard.Dashboard, error) {
	var board dashboard.Dashboard
	// Without errors these are an error too, with no words.
	for _, check := range []func() error{func() error { return board.UnmarshalJSONStrict(text) }, board.Validate} {
		if err := check(); err != nil && err.Error() != "" {
			return board, err
		}
	}
	return board, nil
}

func TestTheDashboardIsWhatGrafanaTakes(t *testing.T) {
	text, err := os.ReadFile(grafana + "dashboards/denoised.json")
	if err != nil {
		t.Fatal(err)
	}
	board, err := decodeDashboard(text)
	if err != nil {
		t.Fatal(err)
	}
	if len(board.Panels) < 20 || board.Uid == nil {
		t.Errorf("%d panels", len(board.Panels))
	}
}

func TestADashboardWithAnUnknownFieldIsRefused(t *testing.T) {
	if _, err := decodeDashboard([]byte(`{"title": "denoised", "schemaVersion": 39, "panles": []}`)); err == nil {
		t.Error("panles are taken")
	}
}

// Who provisions a dashboard that asks another data source sees empty panels.
func TestTheDashboardIsProvisionedWhereComposeMountsIt(t *testing.T) {
	read := func(file string, into any) {
		t.Helper()
		text, err := os.ReadFile(grafana + "provisioning/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict(text, into); err != nil {
			t.Fatal(err)
		}
	}
	var providers struct {
		APIVersion int `json:"apiVersion"`
		Providers  []struct {
			Name                  string            `json:"name"`
			Folder                string            `json:"folder"`
			Type                  string            `json:"type"`
			AllowUIUpdates        bool              `json:"allowUiUpdates"`
			UpdateIntervalSeconds int               `json:"updateIntervalSeconds"`
			Options               map[string]string `json:"options"`
		} `json:"providers"`
	}
	read("dashboards/denoised.yml", &providers)
	project, err := load(t, composeFile)
	if err != nil {
		t.Fatal(err)
	}
	mounted := false
	for _, volume := range project.Services["grafana"].Volumes {
		mounted = mounted || volume.Target == providers.Providers[0].Options["path"]
	}
	if !mounted {
		t.Errorf("Compose does not mount %v", providers.Providers[0].Options)
	}
}
