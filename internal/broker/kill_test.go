package broker

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/broker/state"
	"holdfast/internal/seal/sealtest"
)

// writerEnv makes this test binary a writer that is killed: see below.
const writerEnv = "BROKER_TEST_WRITE_TO"

func TestMain(m *testing.M) {
	if dir := os.Getenv(serverEnv); dir != "" {
		serveForEver(dir)
	}
	if dir := os.Getenv(writerEnv); dir != "" {
		writeForEver(dir)
	}
	os.Exit(m.Run())
}

// writeForEver sets resources and says so once each is acknowledged.
func writeForEver(dir string) {
	ctx := context.Background()
	s, err := state.Open(ctx, state.Config{Dir: dir, Sealer: sealtest.New()})
	if err != nil {
		panic(err)
	}
	l, err := openAudit(Config{Dir: dir, State: s, Now: time.Now})
	if err != nil {
		panic(err)
	}
	big := bytes.Repeat([]byte("x"), 100<<10)
	for i := 0; ; i++ {
		r := Resource(fmt.Sprintf("default/key/%d", i))
		if err := l.append(api.AuditEntry{Action: "set-resource", Resource: string(r)}); err != nil {
			panic(err)
		}
		if err := s.SetResource(ctx, string(r), big, false); err != nil {
			panic(err)
		}
		fmt.Println(r)
	}
}

func TestKillLosesNothingAcknowledged(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "broker")
	for round := range 5 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), writerEnv+"="+dir)
		out, err := cmd.StdoutPipe()
		check(t, err)
		check(t, cmd.Start())
		var acknowledged []string
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if acknowledged = append(acknowledged, lines.Text()); len(acknowledged) == 3+round {
				check(t, cmd.Process.Kill()) // in the midst of a later write
			}
		}
		_ = cmd.Wait() // it was killed
		s := openTestState(t, dir, time.Now)
		log, err := os.ReadFile(filepath.Join(dir, AuditFile))
		check(t, err)
		for _, path := range acknowledged {
			if value, err := s.Resource(t.Context(), path); err != nil || len(value) != 100<<10 {
				t.Fatalf("%s was acknowledged: got %d bytes, %v", path, len(value), err)
			}
			if !bytes.Contains(log, []byte(`"`+path+`"`)) {
				t.Fatalf("%s was acknowledged but is not in the audit log", path)
			}
		}
		// Whole or absent, acknowledged or not; and nobody waits for the dead.
		list, err := s.Resources(t.Context())
		check(t, err)
		for _, path := range list {
			if value, err := s.Resource(t.Context(), path); err != nil || len(value) != 100<<10 {
				t.Fatalf("%s is not whole: %d bytes, %v", path, len(value), err)
			}
		}
		check(t, s.SetResource(t.Context(), "default/after/kill", bytes.Repeat([]byte("x"), 100<<10), false))
		t.Logf("%d acknowledged", len(acknowledged))
	}
}
