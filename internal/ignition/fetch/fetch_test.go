package fetch

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
)

func resource(source string) types.Resource { return types.Resource{Source: &source} }

func get(t *testing.T, c Config, settings types.Ignition, r types.Resource) (string, error) {
	t.Helper()
	if c.Wait == nil {
		c.Wait = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	}
	var b strings.Builder
	err := New(c).Fetch(t.Context(), settings, r, &b)
	return b.String(), err
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func hashed(kind string, sum []byte) types.Verification {
	text := fmt.Sprintf("%s-%x", kind, sum)
	return types.Verification{Hash: &text}
}

func packed(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestABodyIsUnpackedAndThenVerified(t *testing.T) {
	base := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Write(packed(t, "hello")) })
	r := resource(base)
	method := "gzip"
	r.Compression = &method
	sum := sha512.Sum512([]byte("hello"))
	r.Verification = hashed("sha512", sum[:])
	got, err := get(t, Config{}, types.Ignition{}, r)
	if err != nil || got != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
	wrong := sha256.Sum256([]byte("other"))
	r.Verification = hashed("sha256", wrong[:])
	if _, err := get(t, Config{}, types.Ignition{}, r); !errors.Is(err, ErrHash) {
		t.Errorf("got %v, want ErrHash", err)
	}
}

func TestHeadersStayWithTheServerThatTheConfigNames(t *testing.T) {
	var got http.Header
	last := serve(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header })
	var first http.Header
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		first = r.Header
		http.Redirect(w, r, last, http.StatusFound)
	})
	r := resource(base)
	token, accept := "t", "text/plain"
	r.HTTPHeaders = types.HTTPHeaders{{Name: "X-Auth", Value: &token}, {Name: "Accept", Value: &accept}}
	if _, err := get(t, Config{}, types.Ignition{}, r); err != nil {
		t.Fatal(err)
	}
	if first.Get("X-Auth") != "t" || first.Get("Accept") != "text/plain" || first.Get("Accept-Encoding") != "identity" {
		t.Errorf("the first server had %v", first)
	}
	if got.Get("X-Auth") != "" || got.Get("Referer") != "" || !strings.HasPrefix(got.Get("Accept"), "application/vnd.coreos.ignition+json") {
		t.Errorf("the second server had %v", got)
	}
}

func TestTroubleOfTheServersIsWaitedFor(t *testing.T) {
	tries := 0
	base := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if tries++; tries < 8 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	var waits []time.Duration
	c := Config{Wait: func(_ context.Context, d time.Duration) error { waits = append(waits, d); return nil }}
	if _, err := get(t, c, types.Ignition{}, resource(base)); err != nil {
		t.Fatal(err)
	}
	const ms = time.Millisecond
	want := []time.Duration{200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 5000 * ms, 5000 * ms}
	if fmt.Sprint(waits) != fmt.Sprint(want) {
		t.Errorf("waited %v, want %v", waits, want)
	}
}

// hostile are servers and what must be said of them, with the URL and without
// its secret.
func TestAHostileServerIsToldByItsURL(t *testing.T) {
	one := 1
	short := types.Ignition{Timeouts: types.Timeouts{HTTPTotal: &one}}
	for _, c := range []struct {
		name   string
		config Config
		with   types.Ignition
		serve  http.HandlerFunc
		want   string
	}{
		{"redirect loop", Config{}, types.Ignition{}, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path+"?secret=CANARY", http.StatusFound)
		}, "redirects again and again"},
		{"to a file", Config{Files: func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("x")), nil }}, types.Ignition{}, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "file:///etc/passwd")
			w.WriteHeader(http.StatusFound)
		}, "neither http nor https"},
		{"bad redirect", Config{}, short, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://u:CANARY@h:%zz/?CANARY")
			w.WriteHeader(http.StatusFound)
		}, "Location"},
		{"announced size", Config{Limit: 1000}, types.Ignition{}, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10000000000")
		}, "the server announces 10000000000"},
		{"endless body", Config{Limit: 1 << 20}, types.Ignition{}, func(w http.ResponseWriter, _ *http.Request) {
			for b := make([]byte, 1<<16); ; {
				if _, err := w.Write(b); err != nil {
					return
				}
			}
		}, "more than the limit of 1048576 bytes"},
		{"slow body", Config{Stall: 50 * time.Millisecond}, types.Ignition{}, func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				fmt.Fprint(w, "x")
				w.(http.Flusher).Flush()
				time.Sleep(10 * time.Millisecond)
			}
		}, "sends too slowly"},
		{"slow forever", Config{}, short, func(w http.ResponseWriter, r *http.Request) {
			for b := make([]byte, 2000); r.Context().Err() == nil; time.Sleep(20 * time.Millisecond) {
				w.Write(b)
				w.(http.Flusher).Flush()
			}
		}, "not done in 1s"},
		{"no headers", Config{}, short, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "not done in 1s"},
		{"truncated", Config{}, types.Ignition{}, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, "CANARY")
		}, "hung up"},
		{"forbidden", Config{}, types.Ignition{}, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "CANARY", http.StatusForbidden) }, "403 Forbidden"},
		{"absent", Config{}, types.Ignition{}, func(w http.ResponseWriter, _ *http.Request) { http.NotFound(w, nil) }, "not found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			base := serve(t, c.serve)
			secret := strings.Replace(base, "http://", "http://u:CANARY@", 1) + "/a?CANARY=CANARY#CANARY"
			_, err := get(t, c.config, c.with, resource(secret))
			if err == nil || !strings.HasPrefix(err.Error(), "fetch "+base+"/a: ") || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want fetch %s/a: … %s", err, base, c.want)
			}
			if strings.Contains(err.Error(), "CANARY") {
				t.Errorf("tells a secret: %v", err)
			}
		})
	}
}

func TestABombOfGzipIsBounded(t *testing.T) {
	base := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Write(packed(t, strings.Repeat("0", 1<<22))) })
	r := resource(base)
	method := "gzip"
	r.Compression = &method
	if _, err := get(t, Config{Limit: 1 << 20}, types.Ignition{}, r); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
}

func authority(s *httptest.Server) types.Resource {
	raw := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	sum := sha256.Sum256(raw)
	r := resource("data:," + url.PathEscape(string(raw)))
	r.Verification = hashed("sha256", sum[:])
	return r
}

func TestAnAuthorityOfTheConfigIsTrustedAndNoOther(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	if _, err := get(t, Config{Total: 5 * time.Second}, types.Ignition{}, resource(s.URL)); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("got %v, want the authority refused", err)
	}
	with := types.Ignition{Security: types.Security{TLS: types.TLS{CertificateAuthorities: []types.Resource{authority(s)}}}}
	if got, err := get(t, Config{}, with, resource(s.URL)); err != nil || got != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
	other := sha256.Sum256(nil)
	with.Security.TLS.CertificateAuthorities[0].Verification = hashed("sha256", other[:])
	if _, err := get(t, Config{}, with, resource(s.URL)); !errors.Is(err, ErrHash) {
		t.Errorf("got %v, want ErrHash of the authority", err)
	}
}

func TestAProxyIsAskedExceptForWhatIsExcluded(t *testing.T) {
	proxy := serve(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "by proxy ", r.URL.Host) })
	with := types.Ignition{Proxy: types.Proxy{HTTPProxy: &proxy, NoProxy: []types.NoProxyItem{"excluded.example"}}}
	if got, err := get(t, Config{}, with, resource("http://machine.example/a")); err != nil || got != "by proxy machine.example" {
		t.Errorf("got %q, %v", got, err)
	}
	one := 1
	with.Timeouts.HTTPTotal = &one
	if got, err := get(t, Config{}, with, resource("http://excluded.example/a")); err == nil {
		t.Errorf("got %q, want no answer without the proxy", got)
	}
}

func TestADataURLIsDecoded(t *testing.T) {
	for source, want := range map[string]string{"data:,a%20b": "a b", "data:;base64,aGVsbG8=": "hello", "": ""} {
		if got, err := get(t, Config{}, types.Ignition{}, resource(source)); err != nil || got != want {
			t.Errorf("%s: got %q, %v", source, got, err)
		}
	}
	_, err := get(t, Config{}, types.Ignition{}, resource("data:;base64,CANARY!"))
	if err == nil || strings.Contains(err.Error(), "CANARY") {
		t.Errorf("got %v, want an error without the text", err)
	}
	if _, err := get(t, Config{}, types.Ignition{}, resource("file:///etc/passwd")); !errors.Is(err, ErrScheme) {
		t.Errorf("got %v, want files refused", err)
	}
}

// The example "GET Object" of Amazon S3's API reference, "Signature
// Calculations for the Authorization Header".
func TestTheSignatureIsTheOneOfAmazonsExample(t *testing.T) {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://examplebucket.s3.amazonaws.com/test.txt", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Range", "bytes=0-9")
	c := credentials{ID: "AKIAIOSFODNN7EXAMPLE", Secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
	c.sign(r, "us-east-1", time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC))
	const want = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
	if got := r.Header.Get("Authorization"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func imds(t *testing.T, role string) string {
	t.Helper()
	const token = "session"
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPut && r.URL.Path == "/latest/api/token" && r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds") != "":
			fmt.Fprint(w, token)
		case r.Header.Get("X-Aws-Ec2-Metadata-Token") != token:
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/latest/meta-data/placement/region":
			fmt.Fprint(w, "eu-west-1")
		case role != "" && r.URL.Path == "/latest/meta-data/iam/security-credentials/":
			fmt.Fprint(w, role)
		case role != "" && r.URL.Path == "/latest/meta-data/iam/security-credentials/"+role:
			fmt.Fprint(w, `{"AccessKeyId":"id","SecretAccessKey":"secret","Token":"given"}`)
		default:
			http.NotFound(w, r)
		}
	})
}

func TestAnObjectIsAskedForWithTheRoleOfTheInstance(t *testing.T) {
	var asked []*http.Request
	s3 := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r)
		if r.Method == http.MethodHead {
			w.Header().Set("X-Amz-Bucket-Region", "eu-central-1")
			w.WriteHeader(http.StatusForbidden)
			return
		}
		fmt.Fprint(w, "object")
	})
	got, err := get(t, Config{AWS: imds(t, "role"), S3: s3}, types.Ignition{}, resource("s3://bucket/a%20b/c?versionId=7"))
	if err != nil || got != "object" {
		t.Fatalf("got %q, %v", got, err)
	}
	r := asked[1]
	if r.RequestURI != "/bucket/a%20b/c?versionId=7" || r.Header.Get("X-Amz-Security-Token") != "given" || !strings.Contains(r.Header.Get("Authorization"), "/eu-central-1/s3/aws4_request") {
		t.Errorf("asked for %s with %v", r.RequestURI, r.Header)
	}
	asked = nil
	if got, err := get(t, Config{AWS: imds(t, ""), S3: s3}, types.Ignition{}, resource("arn:aws:s3:::bucket/c")); err != nil || got != "object" || asked[1].Header.Get("Authorization") != "" {
		t.Errorf("without a role: got %q, %v, with %v", got, err, asked[1].Header)
	}
	if _, err := get(t, Config{}, types.Ignition{}, resource("arn:aws:s3:eu-west-1:1:accesspoint/p/object/k")); err == nil || !strings.Contains(err.Error(), "takes credentials") {
		t.Errorf("got %v, want an access point refused without a role", err)
	}
}

func TestWhereObjectsAre(t *testing.T) {
	for source, want := range map[string]string{
		"s3://bucket/a/b":                                      "https://bucket.s3.dualstack.us-east-1.amazonaws.com/a/b",
		"s3://buck.et/a+b?versionId=1":                         "https://s3.dualstack.us-east-1.amazonaws.com/buck.et/a%2Bb?versionId=1",
		"arn:aws:s3:::bucket/a":                                "https://bucket.s3.dualstack.us-east-1.amazonaws.com/a",
		"arn:aws-cn:s3:cn-north-1:12:accesspoint/p/object/k/l": "https://p-12.s3-accesspoint.dualstack.cn-north-1.amazonaws.com.cn/k/l",
	} {
		u, err := url.Parse(source)
		if err != nil {
			t.Fatal(err)
		}
		o, err := parseObject(u)
		if o.region == "" {
			o.region = "us-east-1"
		}
		if got := New(Config{}).objectURL(o, o.region); err != nil || got != want {
			t.Errorf("%s: got %s, %v", source, got, err)
		}
	}
}

func TestGoogleIsAskedWithTheInstancesToken(t *testing.T) {
	metadata := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Metadata-Flavor") != "Google" || r.URL.Path != "/computeMetadata/v1/instance/service-accounts/default/token" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, `{"access_token":"given","expires_in":3599,"token_type":"Bearer"}`)
	})
	storage := serve(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.RequestURI, r.Header.Get("Authorization"))
	})
	if got, err := get(t, Config{GCP: metadata, GCS: storage}, types.Ignition{}, resource("gs://bucket/a b/c")); err != nil || got != "/bucket/a%20b/cBearer given" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := get(t, Config{GCS: storage}, types.Ignition{}, resource("gs://bucket/c")); err != nil || got != "/bucket/c" {
		t.Errorf("without a token: got %q, %v", got, err)
	}
}
