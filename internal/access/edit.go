package access

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/crypto/bcrypt"
	"gopkg.in/yaml.v3"

	"holdfast/internal/atomicfile"
	"holdfast/internal/input"
)

// Errors of Put and Remove that a caller may branch on.
var (
	// ErrNoUser says that no user has the name.
	ErrNoUser = errors.New("no such user")
	// ErrInRules says that groups or rules name the user.
	ErrInRules = errors.New("groups or rules name this user")
)

// A file that Put makes lets everybody with a password do everything.
const first = `# Who may do what at this registry: docs/formats/access.md tells more.
users:
rules:
  - repository: "**"
    pull: users
    push: users
    delete: users
`

// Hash is a password's, as "htpasswd -B" makes it.
func Hash(password string) (string, error) {
	switch {
	case password == "":
		return "", errors.New("the password is empty")
	case len(password) > 72:
		return "", errors.New("the password has more than 72 bytes, of which bcrypt would read no more")
	case strings.ContainsAny(password, "\x00\r\n"):
		return "", errors.New("the password has a line break or a zero byte in it")
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	return string(hash), err
}

// Users lists who has a password.
func (r *Rules) Users() []string {
	names := []string{}
	for name := range r.hashes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Groups lists the groups that a user is in.
func (r *Rules) Groups(user string) []string {
	names := []string{}
	for name, members := range r.groups {
		if slices.Contains(members, user) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Put gives a user a password in the file at path, which is made when it is
// absent. Whatever else is in the file stays as it is written. It says whether
// the user is a new one.
func Put(ctx context.Context, path, user, password string) (added bool, err error) {
	if err := checkName(user); err != nil {
		return false, err
	}
	hash, err := Hash(password)
	if err != nil {
		return false, err
	}
	err = edit(ctx, path, func(lines []string, users *yaml.Node) ([]string, error) {
		at, indent := place(users)
		line := indent + quote(user) + ": " + hash
		if key := keyOf(users, user); key != nil {
			lines[key.Line-1] = line
			return lines, nil
		}
		added = true
		return slices.Insert(lines, at, line), nil
	})
	return added, err
}

// Remove takes a user out of the file at path.
func Remove(ctx context.Context, path, user string) error {
	return edit(ctx, path, func(lines []string, users *yaml.Node) ([]string, error) {
		key := keyOf(users, user)
		if key == nil {
			return nil, fmt.Errorf("user %.80q: %w", user, ErrNoUser)
		}
		r, err := parse([]byte(text(lines)))
		if err == nil && r.isNamed(user) {
			err = fmt.Errorf("user %s: %w", user, ErrInRules)
		}
		return slices.Delete(lines, key.Line-1, key.Line), err
	})
}

// isNamed says whether a group or a rule names user.
func (r *Rules) isNamed(user string) bool {
	for _, rule := range r.rules {
		for _, who := range rule.who {
			if slices.Contains(who, user) {
				return true
			}
		}
	}
	return len(r.Groups(user)) > 0
}

// edit changes lines of the file, and keeps what comes of it only if it is
// good.
func edit(ctx context.Context, path string, change func(lines []string, users *yaml.Node) ([]string, error)) error {
	unlock, err := atomicfile.Lock(ctx, path+".lock")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(path + ".lock"); _ = unlock() }()
	raw, mode, err := readOr(path, first)
	if err != nil {
		return fmt.Errorf("access rules: %w", err)
	}
	if _, err := parse(raw); err != nil {
		return &FormError{fmt.Errorf("%s%w", path, err)}
	}
	lines, users, err := split(raw)
	if err == nil {
		lines, err = change(lines, users)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if _, err = parse([]byte(text(lines))); err != nil {
		return fmt.Errorf("%s: cannot be changed line by line, do it by hand: it would be wrong at %w", path, err)
	}
	return atomicfile.WriteFile(path, []byte(text(lines)), mode)
}

func readOr(path, otherwise string) ([]byte, fs.FileMode, error) {
	raw, err := input.ReadFile(path, input.Document)
	if errors.Is(err, fs.ErrNotExist) {
		return []byte(otherwise), 0o600, nil
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, err
	}
	return raw, info.Mode().Perm(), nil
}

func text(lines []string) string { return strings.Join(lines, "\n") + "\n" }

// split gives the lines of a good file, and its users, who are a mapping of
// one line each, or none yet behind the line of their key.
func split(raw []byte) ([]string, *yaml.Node, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return nil, nil, err
	}
	lines := strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n")
	key, users := find(doc.Content[0], "users")
	switch {
	case key == nil:
		at := doc.Content[0].Line
		return slices.Insert(lines, at-1, "users:"), &yaml.Node{Line: at}, nil
	case len(users.Content) == 0 && users.Style&yaml.FlowStyle != 0:
		lines[key.Line-1] = "users:"
		return lines, &yaml.Node{Line: key.Line}, nil
	case len(users.Content) == 0:
		return lines, &yaml.Node{Line: key.Line}, nil
	case users.Style&yaml.FlowStyle != 0:
		return nil, nil, errors.New("users stand within braces: write each on a line of its own")
	}
	return lines, users, nil
}

// find gives a key of a mapping and its value.
func find(mapping *yaml.Node, name string) (key, value *yaml.Node) {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == name {
			return mapping.Content[i], mapping.Content[i+1]
		}
	}
	return nil, nil
}

func keyOf(users *yaml.Node, name string) *yaml.Node {
	key, _ := find(users, name)
	return key
}

// place is behind which line a user is added, and with which indentation.
func place(users *yaml.Node) (line int, indent string) {
	if len(users.Content) == 0 {
		return users.Line, "  "
	}
	last := users.Content[len(users.Content)-1]
	return last.Line, strings.Repeat(" ", users.Content[0].Column-1)
}

// quote writes a name so that YAML takes it for a text.
func quote(name string) string {
	b, err := yaml.Marshal(name)
	if err != nil {
		return name
	}
	return strings.TrimSpace(string(b))
}
