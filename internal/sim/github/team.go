package github

import (
	"fmt"
	"slices"
	"strings"
)

// team is a team of an organisation. Teams within teams are not played.
type team struct {
	id      int64
	org     *User
	slug    string
	members map[string]string // member, maintainer or pending, by lower-case login
}

// AddTeam makes a team of an organisation with members.
func (w *World) AddTeam(org, slug string, members ...string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	o := w.userByLogin[strings.ToLower(org)]
	switch {
	case o == nil || o.Type != "Organization":
		return fmt.Errorf("adding team %s: %s is no organisation", slug, org)
	case !namePattern.MatchString(slug) || slug != strings.ToLower(slug):
		return fmt.Errorf("adding team %q: not a slug", slug)
	case w.findTeam(o, slug) != nil:
		return fmt.Errorf("adding team %s/%s: it is there already", org, slug)
	}
	t := &team{id: w.nextID(), org: o, slug: slug, members: map[string]string{}}
	for _, login := range members {
		if w.userByLogin[strings.ToLower(login)] == nil {
			return fmt.Errorf("adding team %s/%s: no user %s", org, slug, login)
		}
		t.members[strings.ToLower(login)] = "member"
	}
	w.teams = append(w.teams, t)
	return nil
}

// SetTeamMember makes somebody a member or maintainer of a team, or pending, who was invited and has not come yet; "" takes
// them out.
func (w *World) SetTeamMember(org, slug, login, role string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.findTeam(w.userByLogin[strings.ToLower(org)], slug)
	if t == nil || w.userByLogin[strings.ToLower(login)] == nil {
		return fmt.Errorf("putting %s into team %s/%s: no such team or user", login, org, slug)
	}
	switch role {
	case "":
		delete(t.members, strings.ToLower(login))
	case "member", "maintainer", "pending":
		t.members[strings.ToLower(login)] = role
	default:
		return fmt.Errorf("putting %s into team %s/%s: %q is not member, maintainer or pending", login, org, slug, role)
	}
	return nil
}

// TeamID is the id of a team, 0 for none.
func (w *World) TeamID(org, slug string) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t := w.findTeam(w.userByLogin[strings.ToLower(org)], slug); t != nil {
		return t.id
	}
	return 0
}

func (w *World) findTeam(org *User, slug string) *team {
	for _, t := range w.teams {
		if t.org == org && t.slug == slug {
			return t
		}
	}
	return nil
}

// belongs tells whether somebody is of an organisation, and so sees its teams: who is in one of them, or has admin on one of
// its repositories.
func (w *World) belongs(u *User, org *User) bool {
	login := strings.ToLower(u.Login)
	return slices.ContainsFunc(w.teams, func(t *team) bool { return t.org == org && t.members[login] != "" && t.members[login] != "pending" }) || w.actsFor(u, org)
}

// actsFor tells whether somebody may act for an account: it is their own, or they have admin on one of an organisation's
// repositories, which stands for being its owner.
func (w *World) actsFor(u *User, account *User) bool {
	return u == account || account.Type == "Organization" && slices.ContainsFunc(w.repos, func(r *Repository) bool {
		return r.owner == account && r.roles[strings.ToLower(u.Login)] == "admin"
	})
}

// teamMembership needs members:read of the organisation, which a GITHUB_TOKEN never has [K].
func teamMembership(c *call) (answer, error) {
	org := c.w.userByLogin[strings.ToLower(c.vars["org"])]
	if org == nil || org.Type != "Organization" {
		return answer{}, notFound()
	}
	switch c.cred.kind {
	case installation:
		if c.cred.inst.account != org || c.cred.permissions["members"] == "" {
			return answer{}, inaccessible()
		}
	case actions:
		return answer{}, inaccessible()
	default:
		if !c.w.belongs(c.cred.user, org) {
			return answer{}, notFound()
		}
	}
	t, u := c.w.findTeam(org, c.vars["team_slug"]), c.w.userByLogin[strings.ToLower(c.vars["username"])]
	if t == nil || u == nil || t.members[strings.ToLower(u.Login)] == "" {
		return answer{}, notFound()
	}
	role, state := t.members[strings.ToLower(u.Login)], "active"
	if role == "pending" {
		role, state = "member", "pending"
	}
	return ok(object{"url": fmt.Sprintf("%s/organizations/%d/team/%d/memberships/%s", c.w.apiURL, org.ID, t.id, u.Login), "role": role, "state": state})
}
