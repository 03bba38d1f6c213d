// Draw draws a handwritten digit: draw 7 --seed 42
package main

//go:generate protoc -I ../../proto --go_out=. --go-grpc_out=. --go_opt=module=denoised.example/draw --go-grpc_opt=module=denoised.example/draw --go_opt=Mdenoised/v1/digit_service.proto=denoised.example/draw/denoisedv1 --go-grpc_opt=Mdenoised/v1/digit_service.proto=denoised.example/draw/denoisedv1 denoised/v1/digit_service.proto

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // for healthCheckConfig
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "denoised.example/draw/denoisedv1"
)

const (
	timeout      = 5 * time.Minute // of a call, retries and their waiting counted
	previewEvery = 10              // steps from one frame to the next
)

// Where a name has several addresses, as of a headless Service, calls go to all servers in turn that say they are
// healthy, which the package health asks. A full queue answers with RESOURCE_EXHAUSTED and says when to come back, which
// gRPC then does by itself.
const serviceConfig = `{
  "loadBalancingConfig": [{"round_robin": {}}],
  "healthCheckConfig": {"serviceName": "denoised.v1.DigitService"},
  "methodConfig": [{
    "name": [{"service": "denoised.v1.DigitService"}],
    "retryPolicy": {
      "maxAttempts": 5, "initialBackoff": "0.2s", "maxBackoff": "10s", "backoffMultiplier": 2,
      "retryableStatusCodes": ["RESOURCE_EXHAUSTED", "UNAVAILABLE"]
    }
  }]
}`

var samplers = map[string]pb.Sampler{
	"ddpm":             pb.Sampler_SAMPLER_DDPM,
	"ddim":             pb.Sampler_SAMPLER_DDIM,
	"dpm_solver_pp_2m": pb.Sampler_SAMPLER_DPM_SOLVER_PP_2M,
}

type options struct {
	digit     int32
	server    string
	seed      *uint64 // nil: the server draws one
	sampler   pb.Sampler
	steps     uint32
	out       string
	previews  string
	ca        string
	tokenFile string
	noRetry   bool
}

func main() {
	// The first Ctrl-C cancels the call, and the server stops drawing; a second one ends the process.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	go func() { <-ctx.Done(); stop() }()
	if err := draw(ctx, parseOptions()); err != nil {
		if ctx.Err() != nil {
			fmt.Fprintln(os.Stderr, "error: cancelled")
			os.Exit(130)
		}
		fmt.Fprintln(os.Stderr, "error:", errorText(err))
		os.Exit(1)
	}
}

func parseOptions() options {
	var o options
	flags := flag.NewFlagSet("draw", flag.ExitOnError)
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: draw DIGIT [OPTION...]")
		flags.PrintDefaults()
	}
	o.server = "localhost:50051"
	flags.Func("server", "`host:port` (default "+o.server+")", func(text string) error {
		colon := strings.LastIndex(text, ":")
		if port, err := strconv.ParseUint(text[colon+1:], 10, 16); colon < 1 || err != nil || port == 0 {
			return errors.New("must be HOST:PORT, with a port of 1 to 65535")
		}
		o.server = text
		return nil
	})
	flags.Func("seed", "0 to 2^64-1 (default: the server draws one)", func(text string) error {
		seed, err := strconv.ParseUint(text, 10, 64)
		o.seed = &seed
		return err
	})
	flags.Func("sampler", "ddpm, ddim or dpm_solver_pp_2m (default: the server's)", func(text string) error {
		sampler, known := samplers[text]
		if !known {
			return errors.New("must be ddpm, ddim or dpm_solver_pp_2m")
		}
		o.sampler = sampler
		return nil
	})
	flags.Func("steps", "denoising steps (default: the sampler's own number)", func(text string) error {
		steps, err := strconv.ParseUint(text, 10, 32)
		o.steps = uint32(steps)
		return err
	})
	flags.StringVar(&o.out, "out", "", "PNG `file` (default: digit-N.png)")
	flags.StringVar(&o.previews, "previews", "", "`folder` for frames on the way")
	flags.StringVar(&o.ca, "ca", "", "speak TLS and trust the certificates of this `file`, PEM")
	flags.StringVar(&o.tokenFile, "token-file", "", "show the token in this `file`; takes --ca")
	flags.BoolVar(&o.noRetry, "no-retry", false, "do not wait for a place in a full queue")

	usage := func(text string) {
		fmt.Fprintln(os.Stderr, "error:", text)
		flags.Usage()
		os.Exit(2)
	}
	if len(os.Args) < 2 {
		usage("which digit?")
	}
	digit, err := strconv.ParseInt(os.Args[1], 10, 32)
	if err != nil {
		if os.Args[1] == "-h" || os.Args[1] == "--help" {
			flags.SetOutput(os.Stdout)
			flags.Usage()
			os.Exit(0)
		}
		usage("the digit comes first, 0 to 9, got " + os.Args[1])
	}
	flags.Parse(os.Args[2:]) // ends the process over a mistake
	if flags.NArg() > 0 {
		usage("not understood: " + flags.Arg(0))
	}
	if o.tokenFile != "" && o.ca == "" {
		usage("--token-file takes --ca: without TLS everybody on the way could read the token")
	}
	o.digit = int32(digit)
	if o.out == "" {
		o.out = fmt.Sprintf("digit-%d.png", digit)
	}
	return o
}

func draw(ctx context.Context, o options) error {
	connection, err := connect(o)
	if err != nil {
		return err
	}
	defer connection.Close()
	if o.previews != "" {
		if err := os.MkdirAll(o.previews, 0o777); err != nil {
			return err
		}
	}

	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel() // whatever ends this early, a full disk too, ends the drawing at the server
	stream, err := pb.NewDigitServiceClient(connection).GenerateDigit(ctx, makeRequest(o))
	if err != nil {
		return err
	}
	var accepted *pb.GenerateDigitResponse_Accepted
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch event := response.Event.(type) {
		case *pb.GenerateDigitResponse_Accepted_:
			accepted = event.Accepted
		case *pb.GenerateDigitResponse_Preview_:
			frame := filepath.Join(o.previews, fmt.Sprintf("step-%04d.png", event.Preview.Step))
			if err := os.WriteFile(frame, event.Preview.Png, 0o666); err != nil {
				return err
			}
			fmt.Printf("step %d of %d: %s\n", event.Preview.Step, event.Preview.TotalSteps, frame)
		case *pb.GenerateDigitResponse_Image_:
			image := event.Image
			if err := os.WriteFile(o.out, image.Png, 0o666); err != nil {
				return err
			}
			fmt.Printf("%s  %dx%d, seed %d, %d steps, model %s\n", o.out, image.Width, image.Height, image.Seed,
				accepted.GetSteps(), accepted.GetModelVersion())
		}
	}
}

func makeRequest(o options) *pb.GenerateDigitRequest {
	request := &pb.GenerateDigitRequest{
		Digit:   proto.Int32(o.digit),
		Seed:    o.seed,
		Sampler: o.sampler,
		Steps:   o.steps,
	}
	if o.previews != "" {
		request.Preview = &pb.PreviewOptions{
			EverySteps: previewEvery,
			Kind:       pb.PreviewKind_PREVIEW_KIND_PREDICTED_CLEAN,
		}
	}
	return request
}

func connect(o options) (*grpc.ClientConn, error) {
	dial := []grpc.DialOption{grpc.WithDefaultServiceConfig(serviceConfig)}
	if o.noRetry {
		dial = append(dial, grpc.WithDisableRetry())
	}
	transport := insecure.NewCredentials()
	if o.ca != "" {
		var err error
		if transport, err = credentials.NewClientTLSFromFile(o.ca, ""); err != nil {
			return nil, fmt.Errorf("--ca: %w", err)
		}
	}
	dial = append(dial, grpc.WithTransportCredentials(transport))
	if o.tokenFile != "" {
		text, err := os.ReadFile(o.tokenFile)
		if err != nil {
			return nil, fmt.Errorf("--token-file: %w", err)
		}
		dial = append(dial, grpc.WithPerRPCCredentials(bearerToken(strings.TrimSpace(string(text)))))
	}
	return grpc.NewClient(o.server, dial...)
}

// bearerToken is shown with every call.
type bearerToken string

func (t bearerToken) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(t)}, nil
}

func (bearerToken) RequireTransportSecurity() bool { return true }

// errorText is what an error says, with the details that the server has added.
func errorText(err error) string {
	rich, ok := status.FromError(err)
	if !ok {
		return err.Error()
	}
	lines := []string{fmt.Sprintf("%s: %s", code.Code(rich.Code()), rich.Message())}
	for _, detail := range rich.Details() {
		switch detail := detail.(type) {
		case *errdetails.BadRequest:
			for _, violation := range detail.FieldViolations {
				lines = append(lines, fmt.Sprintf("  %s: %s", violation.Field, violation.Description))
			}
		case *errdetails.RetryInfo:
			lines = append(lines, fmt.Sprintf("  try again in %.1f s", detail.RetryDelay.AsDuration().Seconds()))
		}
	}
	return strings.Join(lines, "\n")
}
