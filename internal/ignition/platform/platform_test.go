package platform

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/fetch"
	"holdfast/internal/ignition/volume"
)

func soon(ctx context.Context, _ time.Duration) error { return ctx.Err() }

func ask(ctx context.Context, r ignition.Request) ([]byte, error) {
	return fetch.New(fetch.Config{Wait: soon}).Ask(ctx, r)
}

func offline(context.Context, ignition.Request) ([]byte, error) { return nil, ignition.ErrNeedNet }

// provide has no volumes but those of c, and takes no time.
func provide(t *testing.T, name string, c Config, ask ignition.Ask) (ignition.Provided, error) {
	t.Helper()
	p, err := Find(name)
	if err != nil {
		t.Fatal(err)
	}
	if c.Volumes == nil {
		c.Volumes = func() ([]volume.Volume, error) { return nil, nil }
	}
	if c.Wait == nil {
		c.Wait = func(ctx context.Context, _ time.Duration) error {
			<-time.After(time.Millisecond)
			return context.Cause(ctx)
		}
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Second, errors.New("no config in time"))
	defer cancel()
	return p(ctx, c, ask)
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func TestGoogleGivesTheAttributeOfTheInstance(t *testing.T) {
	config := "{}"
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Metadata-Flavor") != "Google" || r.URL.Path != "/computeMetadata/v1/instance/attributes/user-data" || config == "" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, config)
	})
	for _, config = range []string{"{}", ""} {
		got, err := provide(t, "gcp", Config{Metadata: base}, ask)
		if err != nil || string(got.Raw) != config || got.Origin != nil {
			t.Errorf("got %q, %v, want %q", got.Raw, err, config)
		}
	}
}

// ec2 is the metadata service of Amazon EC2 ("Use the Instance Metadata
// Service"): tokens for those who say for how long, and user data for tokens.
type ec2 struct {
	userData string
	tokens   bool // version 2 is there
	needed   bool // and version 1 is not
	trouble  int  // answers that come before
}

func (e *ec2) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	const token = "AQAEAL=="
	given := r.Header.Get("X-Aws-Ec2-Metadata-Token")
	switch {
	case e.trouble > 0:
		e.trouble--
		w.WriteHeader(http.StatusServiceUnavailable)
	case r.URL.Path == "/latest/api/token" && !e.tokens:
		http.NotFound(w, r)
	case r.URL.Path == "/latest/api/token" && r.Method != http.MethodPut:
		w.WriteHeader(http.StatusMethodNotAllowed)
	case r.URL.Path == "/latest/api/token" && (r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds") == "" || r.Header.Get("X-Forwarded-For") != ""):
		w.WriteHeader(http.StatusBadRequest)
	case r.URL.Path == "/latest/api/token":
		fmt.Fprint(w, token)
	case e.needed && given != token, given != "" && given != token:
		w.WriteHeader(http.StatusUnauthorized)
	case r.URL.Path == "/2019-10-01/user-data" && e.userData != "":
		fmt.Fprint(w, e.userData)
	default:
		http.NotFound(w, r)
	}
}

func TestAmazonIsAskedWithASessionToken(t *testing.T) {
	for _, c := range []struct {
		name, line string
		server     ec2
		want, fail string
	}{
		{"config", "", ec2{userData: "{}", tokens: true, needed: true}, "{}", ""},
		{"after trouble", "", ec2{userData: "{}", tokens: true, needed: true, trouble: 3}, "{}", ""},
		{"none", "", ec2{tokens: true, needed: true}, "", ""},
		{"version 1", "", ec2{userData: "{}"}, "", "session token: "},
		{"version 1 as asked", "quiet ignition.aws.imdsv1=1", ec2{userData: "{}"}, "{}", ""},
		{"version 1 as asked, and 2 is there", "ignition.aws.imdsv1=1", ec2{userData: "{}", tokens: true, needed: true}, "{}", ""},
	} {
		base := serve(t, c.server.ServeHTTP)
		got, err := provide(t, "aws", Config{Metadata: base, CommandLine: c.line}, ask)
		if string(got.Raw) != c.want || (err == nil) != (c.fail == "") || err != nil && !strings.HasPrefix(err.Error(), c.fail) {
			t.Errorf("%s: got %q, %v, want %q", c.name, got.Raw, err, c.want)
		}
	}
	base := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	if _, err := provide(t, "aws", Config{Metadata: base}, ask); err == nil || !strings.Contains(err.Error(), "403 Forbidden") {
		t.Errorf("the service is off: got %v", err)
	}
	if _, err := provide(t, "aws", Config{}, offline); !errors.Is(err, ignition.ErrNeedNet) {
		t.Errorf("got %v, want ErrNeedNet", err)
	}
}

func TestAMetadataServiceThatSendsElsewhereIsNotFollowed(t *testing.T) {
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
	})
	for _, name := range []string{"aws", "azure", "gcp"} {
		if _, err := provide(t, name, Config{Metadata: base}, ask); err == nil || !strings.Contains(err.Error(), "302 Found") {
			t.Errorf("%s: got %v, want the redirect refused", name, err)
		}
	}
}

// imds of Azure answers 404 and 429 before it knows the machine.
func azureService(t *testing.T, userData string) string {
	t.Helper()
	left := []int{http.StatusNotFound, http.StatusGone, http.StatusTooManyRequests, http.StatusInternalServerError}
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		switch {
		case r.Header.Get("Metadata") != "true" || r.Header.Get("X-Forwarded-For") != "" || q.Get("api-version") != "2021-01-01" || q.Get("format") != "text":
			w.WriteHeader(http.StatusBadRequest)
		case len(left) > 0:
			w.WriteHeader(left[0])
			left = left[1:]
		case r.URL.Path == "/metadata/instance/compute/userData":
			fmt.Fprint(w, base64.StdEncoding.EncodeToString([]byte(userData)))
		}
	})
}

func TestAzureGivesUserDataOrTheProvisioningDVD(t *testing.T) {
	got, err := provide(t, "azure", Config{Metadata: azureService(t, `{"a":1}`)}, ask)
	if err != nil || string(got.Raw) != `{"a":1}` {
		t.Errorf("got %q, %v", got.Raw, err)
	}
	dvd := disc(t, map[string]string{"ovf-env.xml": "<Environment/>", "CustomData.bin": `{"b":2}`})
	disk := disc(t, map[string]string{"ovf-env.xml": "<Environment/>", "CustomData.bin": "not to be read"})
	dvd.Disc = true
	c := Config{Metadata: azureService(t, ""), Volumes: appearing(5, disk, dvd)}
	if got, err = provide(t, "azure", c, ask); err != nil || string(got.Raw) != `{"b":2}` || got.Origin != nil {
		t.Errorf("got %q of %v, %v", got.Raw, got.Origin, err)
	}
	plain := disc(t, map[string]string{"ovf-env.xml": "<Environment/>"})
	plain.Disc = true
	if got, err = provide(t, "azure", Config{Metadata: azureService(t, ""), Volumes: appearing(0, plain)}, ask); err != nil || len(got.Raw) != 0 {
		t.Errorf("without custom data: got %q, %v", got.Raw, err)
	}
}

func TestOpenStackTakesWhateverAnswersFirst(t *testing.T) {
	config := "{}"
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/openstack/latest/user_data" || config == "" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, config)
	})
	for _, config = range []string{"{}", ""} {
		if got, err := provide(t, "openstack", Config{Metadata: base}, ask); err != nil || string(got.Raw) != config {
			t.Errorf("service: got %q, %v, want %q", got.Raw, err, config)
		}
	}
	silent := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	files := map[string]string{"openstack/latest/user_data": `{"drive":1}`, "openstack/latest/meta_data.json": "{}"}
	for name, v := range map[string]volume.Volume{"iso": discLabelled(t, "config-2", files), "vfat": stick(t, "CONFIG-2", files)} {
		if got, err := provide(t, "openstack", Config{Metadata: silent, Volumes: appearing(3, v)}, ask); err != nil || string(got.Raw) != `{"drive":1}` {
			t.Errorf("%s: got %q, %v", name, got.Raw, err)
		}
	}
	empty := discLabelled(t, "config-2", map[string]string{"openstack/latest/meta_data.json": "{}"})
	if got, err := provide(t, "openstack", Config{Metadata: silent, Volumes: appearing(0, empty)}, ask); err != nil || len(got.Raw) != 0 {
		t.Errorf("without user data: got %q, %v", got.Raw, err)
	}
	if _, err := provide(t, "openstack", Config{}, offline); !errors.Is(err, ignition.ErrNeedNet) {
		t.Errorf("got %v, want ErrNeedNet", err)
	}
}

func TestNoCloudReadsASeedOrAVolume(t *testing.T) {
	files := map[string]string{"user-data": `{"seed":1}`, "meta-data": "instance-id: i-1\n"}
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if text, ok := files[strings.TrimPrefix(r.URL.Path, "/seed/")]; ok {
			fmt.Fprint(w, text)
			return
		}
		http.NotFound(w, r)
	})
	folder := t.TempDir()
	write(t, folder, files)
	volumes := map[string]volume.Volume{"iso": discLabelled(t, "cidata", files), "vfat": stick(t, "CIDATA", files)}
	for name, c := range map[string]Config{
		"command line": {CommandLine: "quiet ds=nocloud;s=" + base + "/seed/ rw"},
		"old name":     {CommandLine: "ds=nocloud-net;h=name;seedfrom=" + base + "/seed/"},
		"serial":       {Serial: "ds=nocloud;s=" + base + "/seed/", CommandLine: "ds=nocloudy;s=http://127.0.0.1:1/"},
		"folder":       {CommandLine: "ds=nocloud;s=file://" + folder + "/"},
		"iso":          {Volumes: appearing(2, volumes["iso"])},
		"vfat":         {CommandLine: "ds=nocloud", Volumes: appearing(2, volumes["vfat"])},
	} {
		if got, err := provide(t, "nocloud", c, ask); err != nil || string(got.Raw) != `{"seed":1}` {
			t.Errorf("%s: got %q, %v", name, got.Raw, err)
		}
	}
	cloudConfig := stick(t, "CIDATA", map[string]string{"user-data": "#cloud-config\npackages: []\n"})
	for name, c := range map[string]Config{
		"for cloud-init": {Volumes: appearing(0, cloudConfig)},
		"no user-data":   {CommandLine: "ds=nocloud;s=" + base + "/elsewhere/"},
	} {
		if got, err := provide(t, "nocloud", c, ask); err != nil || len(got.Raw) != 0 {
			t.Errorf("%s: got %q, %v, want an empty config", name, got.Raw, err)
		}
	}
	if _, err := provide(t, "nocloud", Config{CommandLine: "ds=nocloud;s=ftp://u:CANARY@h/"}, ask); err == nil || err.Error() != `seed ftp://h/: scheme "ftp": want http, https or file` {
		t.Errorf("got %v, want the scheme refused", err)
	}
}

func TestMetalReadsAStickOrTheESP(t *testing.T) {
	named := stick(t, "IGNITION", map[string]string{"config.ign": `{"stick":1}`, "more/key": "k"})
	esp := stick(t, "", map[string]string{"ignition/config.ign": `{"esp":1}`, "EFI/BOOT/BOOTX64.EFI": "x"})
	other := stick(t, "", map[string]string{"ignition/config.ign": "not to be read"})
	bare := stick(t, "", map[string]string{"EFI/BOOT/BOOTX64.EFI": "x"})
	esp.ESP, bare.ESP = true, true
	for want, list := range map[string][]volume.Volume{`{"stick":1}`: {bare, named, other}, `{"esp":1}`: {other, esp}} {
		got, err := provide(t, "metal", Config{Volumes: appearing(3, list...)}, offline)
		if err != nil || string(got.Raw) != want || got.Origin == nil || got.Origin.Volume == "" {
			t.Errorf("got %q from %v, %v, want %s", got.Raw, got.Origin, err, want)
		}
	}
	if _, err := provide(t, "metal", Config{Volumes: appearing(0, named, esp)}, offline); err == nil || !strings.Contains(err.Error(), "configs on both") {
		t.Errorf("got %v, want two refused", err)
	}
	// a stick whose disk and partition both have the label is one
	again := named
	again.Device += "1"
	if err := os.Link(named.Device, again.Device); err != nil {
		t.Fatal(err)
	}
	if got, err := provide(t, "metal", Config{Volumes: appearing(0, named, again)}, offline); err != nil || string(got.Raw) != `{"stick":1}` {
		t.Errorf("got %q, %v", got.Raw, err)
	}
	read, err := volume.Opener(*must(t, named))("/more/key")
	if err != nil {
		t.Fatal(err)
	}
	if raw, err := io.ReadAll(read); err != nil || string(raw) != "k" || read.Close() != nil {
		t.Errorf("a file beside the config: got %q, %v", raw, err)
	}
}

func must(t *testing.T, v volume.Volume) *ignition.Origin {
	t.Helper()
	got, err := provide(t, "metal", Config{Volumes: appearing(0, v)}, offline)
	if err != nil {
		t.Fatal(err)
	}
	return got.Origin
}

func TestQEMUGivesAFileOfTheFirmwareOrADisk(t *testing.T) {
	top := t.TempDir()
	if got, err := provide(t, "qemu", Config{FwCfg: top}, offline); err != nil || len(got.Raw) != 0 {
		t.Errorf("got %q, %v, want an empty config", got.Raw, err)
	}
	disk := filepath.Join(top, "vdb")
	write(t, top, map[string]string{"vdb": "{}" + strings.Repeat("\x00", 510)})
	volumes := func() ([]volume.Volume, error) {
		return []volume.Volume{{Device: "/dev/vda", Serial: "system"}, {Device: disk, Serial: "ignition"}}, nil
	}
	if got, err := provide(t, "qemu", Config{FwCfg: top, Volumes: volumes}, offline); err != nil || string(got.Raw) != "{}" {
		t.Errorf("disk: got %q, %v", got.Raw, err)
	}
	dir := filepath.Join(top, "by_name/opt/com.coreos/config")
	write(t, dir, map[string]string{"size": "7\n", "raw": `{"f":1}`})
	if got, err := provide(t, "qemu", Config{FwCfg: top, Volumes: volumes}, offline); err != nil || string(got.Raw) != `{"f":1}` {
		t.Errorf("firmware: got %q, %v", got.Raw, err)
	}
	write(t, dir, map[string]string{"size": "99999999999\n"})
	if _, err := provide(t, "qemu", Config{FwCfg: top}, offline); err == nil || !strings.Contains(err.Error(), "want at most") {
		t.Errorf("got %v, want the size refused", err)
	}
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// appearing are volumes that the kernel finds at the n-th look.
func appearing(n int, list ...volume.Volume) func() ([]volume.Volume, error) {
	return func() ([]volume.Volume, error) {
		if n--; n >= 0 {
			return nil, nil
		}
		return list, nil
	}
}

func disc(t *testing.T, files map[string]string) volume.Volume { return discLabelled(t, "disc", files) }

// discLabelled is made as Nova and cloud-init's manual make theirs.
func discLabelled(t *testing.T, label string, files map[string]string) volume.Volume {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "in"), files)
	return made(t, filepath.Join(dir, "image"), []string{"genisoimage", "-quiet", "-J", "-r", "-V", label, "-o", filepath.Join(dir, "image"), filepath.Join(dir, "in")})
}

func stick(t *testing.T, label string, files map[string]string) volume.Volume {
	t.Helper()
	dir := t.TempDir()
	image := filepath.Join(dir, "sda")
	write(t, filepath.Join(dir, "in"), files)
	commands := [][]string{{"truncate", "-s", "2M", image}, {"mkfs.fat", "-n", label, image}}
	if label == "" {
		commands[1] = []string{"mkfs.fat", image}
	}
	entries, err := os.ReadDir(filepath.Join(dir, "in"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		commands = append(commands, []string{"mcopy", "-s", "-i", image, filepath.Join(dir, "in", e.Name()), "::"})
	}
	return made(t, image, commands...)
}

func made(t *testing.T, image string, commands ...[]string) volume.Volume {
	t.Helper()
	for _, argv := range commands {
		if _, err := exec.LookPath(argv[0]); err != nil {
			t.Skipf("needs %s: run make test-tools", argv[0])
		}
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", argv, err, out)
		}
	}
	v, err := volume.Probe(image)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// A machine's serial is its maker's: a seed is read out of it, or none.
//
//fuzz:parser nocloud.go:seedOf
func FuzzSeed(f *testing.F) {
	f.Add("quiet ds=nocloud-net;h=name;seedfrom=http://h/ rw")
	f.Fuzz(func(t *testing.T, line string) {
		seed, named := seedOf(line)
		if seed != "" && !named || strings.ContainsAny(seed, "; \n") || !strings.Contains(line, seed) {
			t.Errorf("%q: got %q, %v", line, seed, named)
		}
	})
}
