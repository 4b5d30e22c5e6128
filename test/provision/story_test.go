package provision

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/wiring"
	"holdfast/test/selfsigned"
)

// disks is the storage of the story: the state on an encrypted mirror, and
// data on a volume of their own.
const disks = `storage:
  disks:
    - device: /dev/vdb
      partitions:
        - {label: left, number: 1, size_mib: 64}
        - {label: right, number: 2, size_mib: 64}
        - {label: data, number: 3, size_mib: 48}
  raid:
    - {name: mirror, level: raid1, devices: [/dev/disk/by-partlabel/left, /dev/disk/by-partlabel/right]}
  luks:
    - {name: state, device: /dev/md/mirror, clevis: {tpm2: true}}
    - {name: data, device: /dev/disk/by-partlabel/data, clevis: {tpm2: true}}
  filesystems:
    - {device: /dev/mapper/state, format: ext4, label: state}
    - {device: /dev/mapper/data, format: ext4, path: /var/lib/data}
`

const head = "variant: fcos\nversion: 1.5.0\n"

const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl core"

// unit leaves a file system in a file: the machine has no shell. It may leave
// none where its sandbox is read-only.
const unit = `systemd:
  units:
    - name: trace.service
      enabled: true
      contents: |
        [Service]
        Type=oneshot
        RemainAfterExit=true
        PrivateTmp=true
        PrivateDevices=true
        ProtectSystem=strict
        ProtectHome=true
        ProtectKernelTunables=true
        ReadWritePaths=/var/lib/data
        CapabilityBoundingSet=CAP_DAC_OVERRIDE
        TasksMax=8
        RestrictAddressFamilies=none
        RestrictNamespaces=true
        MemoryDenyWriteExecute=true
        SystemCallArchitectures=native
        ExecStartPre=-/usr/sbin/mke2fs -q -F /var/lib/outside 256k
        ExecStart=/usr/sbin/mke2fs -q -F /var/lib/data/by-the-unit 256k
        [Install]
        WantedBy=multi-user.target
`

// A server has a certificate of an authority that nobody else knows.
type server struct {
	url, ca string
	asked   atomic.Int32
	handle  func(*http.Request) // nil: nobody looks at what is asked
}

func newServer(t *testing.T, content string) *server {
	t.Helper()
	s := &server{}
	h, ca := selfsigned.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		if s.handle != nil {
			s.handle(r)
		}
		_, _ = w.Write([]byte(content))
	}), time.Now().Add(time.Hour), "10.0.2.2")
	s.ca = string(ca)
	_, port, _ := net.SplitHostPort(h.Listener.Addr().String())
	s.url = "https://10.0.2.2:" + port + "/file"
	return s
}

func story(s *server) string {
	return head + fmt.Sprintf(`ignition:
  security:
    tls:
      certificate_authorities:
        - source: data:;base64,%s
passwd:
  users:
    - name: core
      ssh_authorized_keys: [%s]
`, base64.StdEncoding.EncodeToString([]byte(s.ca)), key) + disks + fmt.Sprintf(`  files:
    - path: /etc/fetched
      contents: {source: "%s"}
`, s.url) + unit
}

// look waits for the unit, and counts boots where the volume keeps them.
const look = `for i in $(seq 60); do [ "$(wc -c < /m/var/lib/data/by-the-unit)" = 262144 ] && break; sleep 1; done
echo boot >> /m/var/lib/data/boots; echo boot >> /m/etc/boots
cat /m/etc/fetched /m/var/home/core/.ssh/authorized_keys.d/ignition; grep ^core: /m/etc/passwd
echo data: $(wc -l < /m/var/lib/data/boots), state: $(wc -l < /m/etc/boots), unit: $(wc -c < /m/var/lib/data/by-the-unit)
[ -e /m/var/lib/outside ] || echo the sandbox holds
grep /m/var/lib/data /proc/mounts`

func TestAMachineIsWhatItsConfigSaysAndStaysSo(t *testing.T) {
	b := needs(t)
	server := newServer(t, "from the private server\n")
	s := newSubject(t, b, story(server))
	for boot := 1; boot <= 2; boot++ {
		r, out := s.boot(look, nil)
		s.good(r)
		for _, want := range []string{"from the private server", key, "core:x:1000:", fmt.Sprintf("data: %d, state: %d, unit: 262144", boot, boot), "the sandbox holds", "/dev/mapper/data"} {
			if !strings.Contains(out, want) {
				t.Fatalf("boot %d: got\n%s\nwant %q\n%s", boot, out, want, s.said.String())
			}
		}
		s.lives()
	}
	if n := server.asked.Load(); n != 1 {
		t.Errorf("the server was asked %d times, want once: the second boot applied the config again", n)
	}
	t.Run("no other machine image opens its volumes", func(t *testing.T) {
		s.T = t
		other := b.other(t)
		r, _ := s.boot(look, func(r *wiring.Run) { r.Guest = other.Dir })
		s.refused(r, "$.storage.luks[0]: volume state", "the TPM refuses")
	})
	t.Run("nor does another configuration", func(t *testing.T) {
		s.T = t
		before := s.config
		defer func() { s.config = before }()
		s.configure(strings.Replace(story(server), "/etc/fetched", "/etc/elsewhere", 1))
		r, _ := s.boot(look, nil)
		s.refused(r, "$.storage.luks[0]: volume state", "wipe was not asked for")
	})
	t.Run("a header that the host changed is refused", func(t *testing.T) {
		s.T = t
		before := s.plant(t)
		r, _ := s.boot(look, nil)
		s.refused(r, "$.storage.luks[1]: volume data", "its header is not as this machine left it")
		s.write(t, before)
	})
	s.T = t
	r, out := s.boot(look, nil)
	s.good(r)
	if !strings.Contains(out, "data: 3, state: 3,") {
		t.Errorf("after all that: got\n%s\nwant the third boot", out)
	}
	s.lives()
}

// Where partition data is: 1 MiB and the mirror's two are before it.
const (
	dataStart = (1 + 64 + 64) << 20
	dataSize  = 48 << 20
)

// plant adds a token to the volume's header, as anybody can who has the disk.
func (s *subject) plant(t *testing.T) (before []byte) {
	t.Helper()
	disk, err := os.ReadFile(s.path("disk"))
	if err != nil {
		t.Fatal(err)
	}
	before = disk[dataStart:][:dataSize]
	at, token := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(at, before, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(token, []byte(`{"type":"planted","keyslots":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s.tool("cryptsetup", "token", "import", "--json-file", token, at)
	after, err := os.ReadFile(at)
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, after)
	return before
}

func (s *subject) write(t *testing.T, data []byte) {
	t.Helper()
	f, err := os.OpenFile(s.path("disk"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(data, dataStart); err != nil {
		t.Fatal(err)
	}
}
