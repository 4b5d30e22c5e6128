package ignition

import (
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition/accounts"
	"holdfast/internal/ignition/rooted"
)

// tool calls one of shadow's on a root, with what upstream would give it.
func tool(root, name string, args ...string) error {
	cmd := exec.Command(name, append([]string{"--root", root}, args...)...)
	cmd.Env = append(os.Environ(), epoch)
	err := cmd.Run()
	var exit *exec.ExitError
	if name == "userdel" && errors.As(err, &exit) && exit.ExitCode() == homeStays {
		return nil
	}
	return err
}

// homeStays is userdel's exit code for a user who is gone, and whose home is
// not its own and stays: ours says nothing of it.
const homeStays = 12

// userWords are upstream's for a user that is there or not.
func userWords(u types.PasswdUser, exists bool) (string, []string) {
	name, args := "useradd", []string{}
	if exists {
		name = "usermod"
		if u.HomeDir != nil {
			args = append(args, "--home", *u.HomeDir, "--move-home")
		}
	} else {
		args = append(args, "--create-home")
		if u.HomeDir != nil {
			args = append(args, "--home-dir", *u.HomeDir)
		}
		if u.NoUserGroup != nil {
			args = append(args, "--no-user-group")
		}
		if u.System != nil {
			args = append(args, "--system")
		}
	}
	switch {
	case u.PasswordHash != nil:
		args = append(args, "--password", *u.PasswordHash)
	case !exists:
		args = append(args, "--password", "*")
	}
	if u.UID != nil {
		args = append(args, "--uid", strconv.Itoa(*u.UID))
	}
	for flag, value := range map[string]*string{"--comment": u.Gecos, "--gid": u.PrimaryGroup, "--shell": u.Shell} {
		if value != nil {
			args = append(args, flag, *value)
		}
	}
	if len(u.Groups) > 0 {
		names := make([]string, len(u.Groups))
		for i, g := range u.Groups {
			names[i] = string(g)
		}
		args = append(args, "--groups", strings.Join(names, ","))
	}
	return name, append(args, u.Name)
}

// A draw makes configs by chance, of few names and numbers so that they meet.
type draw struct{ *rand.Rand }

func (d draw) maybe(values ...string) *string {
	if d.IntN(3) > 0 {
		return nil
	}
	return &values[d.IntN(len(values))]
}

func (d draw) flag() *bool {
	if d.IntN(4) > 0 {
		return nil
	}
	yes := true
	return &yes
}

func (d draw) id() *int {
	if d.IntN(3) > 0 {
		return nil
	}
	id := []int{0, 150, 500, 998, 1000, 1001, 1500, 2000, 59999, 60000, 70000}[d.IntN(11)]
	return &id
}

func (d draw) name() string {
	return []string{"ada", "bob", "core", "spare", "svc", "users"}[d.IntN(6)]
}

func (d draw) user() types.PasswdUser {
	u := types.PasswdUser{Name: d.name(), UID: d.id(), Gecos: d.maybe("Somebody", "Else"), Shell: d.maybe("/bin/zsh", "/bin/sh"),
		PrimaryGroup: d.maybe("wheel", "100", "nope", "spare"), PasswordHash: d.maybe("$6$a$b", "!"), HomeDir: d.maybe("/home/one", "/home/two", "/opt/three"),
		NoUserGroup: d.flag(), System: d.flag()}
	if d.IntN(3) == 0 {
		u.Groups = []types.Group{types.Group(d.name()), "docker"}
	}
	return u
}

// two are equal roots: shadow's tools work on one, our code on the other.
type two struct {
	theirs, ours string
	db           *accounts.Database
}

func newTwo(t *testing.T) *two {
	t.Helper()
	p := &two{theirs: folder(t), ours: folder(t)}
	root(t, p.theirs)
	root(t, p.ours)
	dir, err := rooted.Open(p.ours)
	check(t, err)
	t.Cleanup(func() { check(t, dir.Close()) })
	p.db = accounts.New(accounts.Config{Dir: dir, Now: func() time.Time { return time.Unix(1497398400, 0) }})
	return p
}

// step does one thing to both, and tells what was done.
func (p *two) step(d draw) (said string, theirs, ours error) {
	no := false
	name := d.name()
	_, userErr := p.db.Lookup(name)
	_, groupErr := p.db.GroupID(name)
	switch kind := d.IntN(10); {
	case kind < 6:
		u := d.user()
		_, err := p.db.Lookup(u.Name)
		tool_, args := userWords(u, err == nil)
		return tool_ + " " + strings.Join(args, " "), tool(p.theirs, tool_, args...), p.db.EnsureUser(u)
	case kind == 6 && userErr == nil:
		return "userdel " + name, tool(p.theirs, "userdel", "--remove", name), p.db.EnsureUser(types.PasswdUser{Name: name, ShouldExist: &no})
	case kind == 7 && groupErr == nil:
		return "groupdel " + name, tool(p.theirs, "groupdel", name), p.db.EnsureGroup(types.PasswdGroup{Name: name, ShouldExist: &no})
	}
	g := types.PasswdGroup{Name: name, Gid: d.id(), System: d.flag(), PasswordHash: d.maybe("$6$g$h")}
	words := []string{}
	if g.Gid != nil {
		words = append(words, "--gid", strconv.Itoa(*g.Gid))
	}
	if g.PasswordHash != nil {
		words = append(words, "--password", *g.PasswordHash)
	}
	command := "groupmod"
	if groupErr != nil {
		command = "groupadd"
		if g.System != nil {
			words = append(words, "--system")
		}
	}
	words = append(words, name)
	return command + " " + strings.Join(words, " "), tool(p.theirs, command, words...), p.db.EnsureGroup(g)
}

func TestAccountsAreAsShadowsToolsLeaveThem(t *testing.T) {
	if _, err := exec.LookPath("useradd"); err != nil || os.Getuid() != 0 {
		t.Skip("compares with useradd as root: run make test")
	}
	for seed := range uint64(12) {
		d, p := draw{rand.New(rand.NewPCG(seed, 1))}, newTwo(t)
		var history []string
		for range 25 {
			said, theirs, ours := p.step(d)
			history = append(history, said)
			if (theirs == nil) != (ours == nil) {
				t.Fatalf("seed %d: %s: shadow says %v, ours %v", seed, strings.Join(history, "\n"), theirs, ours)
			}
			got, want := tree(t, p.ours), tree(t, p.theirs)
			compare(t, got, want)
			if t.Failed() {
				t.Fatalf("seed %d, after\n%s (%v, %v)", seed, strings.Join(history, "\n"), theirs, ours)
			}
		}
	}
}
