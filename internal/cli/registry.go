package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"holdfast/internal/access"
)

func (a *app) registryVerbs() *cobra.Command {
	return group("registry", "Say who may use the registry",
		group("user", "Add, list and remove who has a password", a.userAdd(), a.userList(), a.userRemove()),
		a.hashPassword())
}

// rulesFlag says which file the verbs of users are about.
func (a *app) rulesFlag(c *cobra.Command) func() (string, error) {
	path := c.Flags().String("access", "", "file of the rules (default access.yaml in the state folder)")
	return func() (string, error) {
		if *path != "" {
			return *path, nil
		}
		dir, err := a.installation()
		return dir.AccessRules(), err
	}
}

func (a *app) userAdd() *cobra.Command {
	c := &cobra.Command{
		Use:   "add NAME",
		Short: "Give somebody a password, or another one",
		Long: `Asks for a password twice, or reads one line of standard input when that is no
terminal, and writes its bcrypt hash to the file of rules. The first user makes
the file, and from then on only users get past the registry: they may push to,
pull from and delete in all repositories, until you change the file's rules. A
server that runs follows within a second.

Exit codes: 0 done, 1 failed, 2 usage.`,
		Example: "  holdfast registry user add alice\n  pass show registry/ci | holdfast registry user add ci",
		Args:    cobra.ExactArgs(1),
	}
	file := a.rulesFlag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		path, err := file()
		if err != nil {
			return err
		}
		password, err := a.newPassword()
		if err != nil {
			return err
		}
		added, err := access.Put(cmd.Context(), path, args[0], password)
		if err != nil {
			return err
		}
		return a.answer(map[string]any{"user": args[0], "added": added, "file": path}, func(w io.Writer) {
			fmt.Fprintf(w, "%s has %s password in %s\n", args[0], map[bool]string{true: "a", false: "a new"}[added], path)
		})
	}
	return c
}

func (a *app) userRemove() *cobra.Command {
	c := &cobra.Command{
		Use:     "rm NAME",
		Short:   "Take somebody's password away",
		Long:    "Removes a user from the file of rules. Tokens that the user still has are of no\nuse from then on.\n\nExit codes: 0 removed, 1 failed (also when there is no such user), 2 usage.",
		Example: "  holdfast registry user rm alice",
		Args:    cobra.ExactArgs(1),
	}
	file := a.rulesFlag(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		path, err := file()
		if err != nil {
			return err
		}
		if err := access.Remove(cmd.Context(), path, args[0]); err != nil {
			return err
		}
		return a.answer(map[string]any{"user": args[0], "file": path}, func(w io.Writer) { fmt.Fprintf(w, "%s is removed from %s\n", args[0], path) })
	}
	return c
}

type userRow struct {
	User   string   `json:"user"`
	Groups []string `json:"groups"`
}

func (a *app) userList() *cobra.Command {
	c := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List who has a password",
		Long:    "Lists the users of the file of rules, and the groups that they are in.\n\nExit codes: 0 listed, 1 failed, 2 usage.",
		Example: "  holdfast registry user ls --json",
		Args:    cobra.NoArgs,
	}
	file := a.rulesFlag(c)
	c.RunE = func(*cobra.Command, []string) error {
		path, err := file()
		if err != nil {
			return err
		}
		rules, err := access.Load(path)
		if err != nil {
			return err
		}
		rows := []userRow{}
		for _, name := range rules.Users() {
			rows = append(rows, userRow{name, rules.Groups(name)})
		}
		return a.answer(rows, func(w io.Writer) {
			for _, r := range rows {
				fmt.Fprintln(w, strings.TrimSpace(r.User+"  "+strings.Join(r.Groups, " ")))
			}
		})
	}
	return c
}

func (a *app) hashPassword() *cobra.Command {
	return &cobra.Command{
		Use:   "hash-password",
		Short: "Print a password's hash, to be written into a file of rules",
		Long: `Asks for a password twice, or reads one line of standard input when that is no
terminal, and prints its bcrypt hash, which htpasswd understands too.

Exit codes: 0 printed, 1 failed, 2 usage.`,
		Example: "  holdfast registry hash-password",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			password, err := a.newPassword()
			if err != nil {
				return err
			}
			hash, err := access.Hash(password)
			if err != nil {
				return err
			}
			return a.answer(map[string]string{"hash": hash}, func(w io.Writer) { fmt.Fprintln(w, hash) })
		},
	}
}

// newPassword reads a password that nobody shall see: never from the words of
// the command, which other processes can.
func (a *app) newPassword() (string, error) {
	terminal, ok := a.Stdin.(*os.File)
	if !ok || !term.IsTerminal(int(terminal.Fd())) {
		line, err := bufio.NewReader(io.LimitReader(a.Stdin, 4096)).ReadString('\n')
		if err != nil && err != io.EOF {
			return "", fmt.Errorf("read password: %w", err)
		}
		return strings.TrimRight(line, "\r\n"), nil
	}
	first, err := a.hidden(terminal, "Password: ")
	if err != nil {
		return "", err
	}
	second, err := a.hidden(terminal, "Again: ")
	if err == nil && first != second {
		err = errors.New("the two passwords differ")
	}
	return first, err
}

func (a *app) hidden(terminal *os.File, ask string) (string, error) {
	fmt.Fprint(a.Stderr, ask)
	defer fmt.Fprintln(a.Stderr)
	b, err := term.ReadPassword(int(terminal.Fd()))
	if err != nil {
		return "", fmt.Errorf("read password: %w", err)
	}
	return string(b), nil
}
