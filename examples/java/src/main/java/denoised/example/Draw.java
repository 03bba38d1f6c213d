package denoised.example;

import com.google.protobuf.Any;
import com.google.protobuf.Duration;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.RetryInfo;
import denoised.v1.DigitServiceGrpc;
import denoised.v1.GenerateDigitRequest;
import denoised.v1.GenerateDigitResponse;
import denoised.v1.PreviewKind;
import denoised.v1.Sampler;
import io.grpc.CallCredentials;
import io.grpc.ChannelCredentials;
import io.grpc.CompositeChannelCredentials;
import io.grpc.Context;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import io.grpc.protobuf.StatusProto;
import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Iterator;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;

/** Draws a handwritten digit: {@code java -jar target/draw.jar 7 --seed 42}. */
public final class Draw {
  /** Of a call, retries and their waiting counted. */
  private static final int TIMEOUT_SECONDS = 300;
  /** Steps from one frame to the next. */
  private static final int PREVIEW_EVERY = 10;

  /**
   * Where a name has several addresses, as of a headless Service, calls go to all servers in turn that say they are
   * healthy, which grpc-services asks. A full queue answers with RESOURCE_EXHAUSTED and says when to come back, which
   * gRPC then does by itself.
   */
  private static final Map<String, ?> SERVICE_CONFIG =
      Map.of(
          "loadBalancingConfig", List.of(Map.of("round_robin", Map.of())),
          "healthCheckConfig", Map.of("serviceName", DigitServiceGrpc.SERVICE_NAME),
          "methodConfig",
          List.of(
              Map.of(
                  "name", List.of(Map.of("service", DigitServiceGrpc.SERVICE_NAME)),
                  "retryPolicy",
                      Map.of(
                          "maxAttempts", 5.0,
                          "initialBackoff", "0.2s",
                          "maxBackoff", "10s",
                          "backoffMultiplier", 2.0,
                          "retryableStatusCodes", List.of("RESOURCE_EXHAUSTED", "UNAVAILABLE")))));

  private static final String USAGE =
      """
      usage: draw DIGIT [OPTION...]
        --server HOST:PORT   default: localhost:50051
        --seed N             0 to 2^64-1; default: the server draws one
        --sampler NAME       ddpm, ddim or dpm_solver_pp_2m; default: the server's
        --steps N            denoising steps; default: the sampler's own number
        --out FILE           PNG; default: digit-N.png
        --previews DIR       folder for frames on the way
        --ca FILE            speak TLS and trust these certificates, PEM
        --token-file FILE    show this token; takes --ca
        --no-retry           do not wait for a place in a full queue""";

  private static final class Options {
    Integer digit;
    String server = "localhost:50051";
    /** Unsigned: beyond 2^63 it is negative for Java, and printed by toUnsignedString. */
    Long seed;
    Sampler sampler = Sampler.SAMPLER_UNSPECIFIED;
    int steps;
    Path out;
    Path previews;
    File ca;
    Path tokenFile;
    boolean retry = true;
  }

  public static void main(String[] args) {
    Options options = parse(args);
    Context.CancellableContext context = Context.current().withCancellation();
    CountDownLatch ended = new CountDownLatch(1);
    // On Ctrl-C, which also sets the exit status: ends the call, so that the server stops drawing.
    Thread interrupted =
        new Thread(
            () -> {
              context.cancel(null);
              System.err.println("error: cancelled");
              await(ended);
            });
    Runtime.getRuntime().addShutdownHook(interrupted);
    int status = 0;
    try {
      context.run(() -> draw(options));
    } catch (StatusRuntimeException error) {
      status = context.isCancelled() ? 130 : fail(errorText(error));
    } catch (RuntimeException error) {
      status = fail(error.getMessage());
    }
    ended.countDown();
    if (!context.isCancelled()) {
      Runtime.getRuntime().removeShutdownHook(interrupted);
    }
    System.exit(status);
  }

  private static void await(CountDownLatch latch) {
    try {
      latch.await(5, TimeUnit.SECONDS);
    } catch (InterruptedException stop) {
      Thread.currentThread().interrupt();
    }
  }

  private static int fail(String message) {
    System.err.println("error: " + message);
    return 1;
  }

  private static Options parse(String[] args) {
    Options options = new Options();
    try {
      for (int i = 0; i < args.length; i++) {
        switch (args[i]) {
          case "--server" -> options.server = hostPort(args[++i]);
          case "--seed" -> options.seed = Long.parseUnsignedLong(args[++i]);
          case "--sampler" -> options.sampler = Sampler.valueOf("SAMPLER_" + args[++i].toUpperCase(Locale.ROOT));
          case "--steps" -> options.steps = Integer.parseUnsignedInt(args[++i]);
          case "--out" -> options.out = Path.of(args[++i]);
          case "--previews" -> options.previews = Path.of(args[++i]);
          case "--ca" -> options.ca = new File(args[++i]);
          case "--token-file" -> options.tokenFile = Path.of(args[++i]);
          case "--no-retry" -> options.retry = false;
          case "--help" -> {
            System.out.println(USAGE);
            System.exit(0);
          }
          default -> options.digit = Integer.parseInt(args[i]);
        }
      }
    } catch (IllegalArgumentException error) {
      mistyped("not a value that this option takes: " + error.getMessage());
    } catch (ArrayIndexOutOfBoundsException error) {
      mistyped(args[args.length - 1] + " lacks its value");
    }
    if (options.digit == null) {
      mistyped("which digit? One, 0 to 9");
    }
    if (options.tokenFile != null && options.ca == null) {
      mistyped("--token-file takes --ca: without TLS everybody on the way could read the token");
    }
    if (options.out == null) {
      options.out = Path.of("digit-" + options.digit + ".png");
    }
    return options;
  }

  /** NOTE: a port that cannot be is an exception in a thread of gRPC's own, and the call waits for ever. */
  private static String hostPort(String text) {
    String port = text.substring(text.lastIndexOf(':') + 1);
    if (!text.matches(".+:\\d{1,5}") || Integer.parseInt(port) < 1 || Integer.parseInt(port) > 65535) {
      mistyped("--server must be HOST:PORT, with a port of 1 to 65535, got \"" + text + "\"");
    }
    return text;
  }

  private static void mistyped(String message) {
    System.err.println(USAGE + "\nerror: " + message);
    System.exit(2);
  }

  private static void draw(Options options) {
    ManagedChannel channel = null;
    try {
      channel = connect(options);
      if (options.previews != null) {
        Files.createDirectories(options.previews);
      }
      Iterator<GenerateDigitResponse> responses =
          DigitServiceGrpc.newBlockingStub(channel)
              .withDeadlineAfter(TIMEOUT_SECONDS, TimeUnit.SECONDS)
              .generateDigit(makeRequest(options));
      GenerateDigitResponse.Accepted accepted = null;
      while (responses.hasNext()) {
        GenerateDigitResponse response = responses.next();
        switch (response.getEventCase()) {
          case ACCEPTED -> accepted = response.getAccepted();
          case PREVIEW -> savePreview(response.getPreview(), options);
          case IMAGE -> saveImage(response.getImage(), accepted, options);
          default -> {} // of a newer server
        }
      }
    } catch (FileSystemException error) {
      throw new IllegalStateException("cannot use the file " + error.getMessage(), error);
    } catch (IOException error) {
      throw new IllegalStateException(error.getMessage(), error);
    } finally {
      if (channel != null) {
        channel.shutdownNow(); // whatever ended this early, a full disk too, ends the drawing at the server
      }
    }
  }

  private static ManagedChannel connect(Options options) throws IOException {
    ManagedChannelBuilder<?> builder = Grpc.newChannelBuilder(options.server, credentials(options));
    builder.defaultServiceConfig(SERVICE_CONFIG);
    if (!options.retry) {
      builder.disableRetry();
    }
    return builder.build();
  }

  private static ChannelCredentials credentials(Options options) throws IOException {
    if (options.ca == null) {
      return InsecureChannelCredentials.create();
    }
    if (!Files.readString(options.ca.toPath(), StandardCharsets.ISO_8859_1).contains("-----BEGIN CERTIFICATE-----")) {
      throw new IOException("--ca: " + options.ca + " holds no certificate, PEM");
    }
    ChannelCredentials tls = TlsChannelCredentials.newBuilder().trustManager(options.ca).build();
    if (options.tokenFile == null) {
      return tls;
    }
    return CompositeChannelCredentials.create(tls, new BearerToken(Files.readString(options.tokenFile).strip()));
  }

  /** Shows a token with every call. */
  private static final class BearerToken extends CallCredentials {
    private static final Metadata.Key<String> AUTHORIZATION =
        Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
    private final Metadata metadata = new Metadata();

    BearerToken(String token) {
      metadata.put(AUTHORIZATION, "Bearer " + token);
    }

    @Override
    public void applyRequestMetadata(RequestInfo info, Executor executor, MetadataApplier applier) {
      applier.apply(metadata);
    }
  }

  private static GenerateDigitRequest makeRequest(Options options) {
    GenerateDigitRequest.Builder request =
        GenerateDigitRequest.newBuilder()
            .setDigit(options.digit)
            .setSampler(options.sampler)
            .setSteps(options.steps);
    if (options.seed != null) {
      request.setSeed(options.seed);
    }
    if (options.previews != null) {
      request
          .getPreviewBuilder()
          .setEverySteps(PREVIEW_EVERY)
          .setKind(PreviewKind.PREVIEW_KIND_PREDICTED_CLEAN);
    }
    return request.build();
  }

  private static void savePreview(GenerateDigitResponse.Preview preview, Options options) throws IOException {
    Path frame = options.previews.resolve(String.format(Locale.ROOT, "step-%04d.png", preview.getStep()));
    Files.write(frame, preview.getPng().toByteArray());
    System.out.printf(Locale.ROOT, "step %d of %d: %s%n", preview.getStep(), preview.getTotalSteps(), frame);
  }

  private static void saveImage(
      GenerateDigitResponse.Image image, GenerateDigitResponse.Accepted accepted, Options options)
      throws IOException {
    Files.write(options.out, image.getPng().toByteArray());
    System.out.printf(
        Locale.ROOT,
        "%s  %dx%d, seed %s, %d steps, model %s%n",
        options.out,
        image.getWidth(),
        image.getHeight(),
        Long.toUnsignedString(image.getSeed()),
        accepted.getSteps(),
        accepted.getModelVersion());
  }

  /** What an error says, with the details that the server has added. */
  private static String errorText(StatusRuntimeException error) {
    StringBuilder text =
        new StringBuilder(error.getStatus().getCode() + ": " + error.getStatus().getDescription());
    com.google.rpc.Status status = StatusProto.fromThrowable(error);
    try {
      for (Any detail : status.getDetailsList()) {
        if (detail.is(BadRequest.class)) {
          for (BadRequest.FieldViolation violation : detail.unpack(BadRequest.class).getFieldViolationsList()) {
            text.append("\n  ").append(violation.getField()).append(": ").append(violation.getDescription());
          }
        } else if (detail.is(RetryInfo.class)) {
          Duration delay = detail.unpack(RetryInfo.class).getRetryDelay();
          text.append(
              String.format(Locale.ROOT, "\n  try again in %.1f s", delay.getSeconds() + delay.getNanos() / 1e9));
        }
      }
    } catch (InvalidProtocolBufferException unreadable) {
      text.append("\n  with details that cannot be read");
    }
    return text.toString();
  }

  private Draw() {}
}
