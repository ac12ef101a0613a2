/*
 * recipe.c - recipes.
 */
#include "builder/spec.h"

int spec_read_recipe(struct build_spec *s, const char *path, struct err *e)
{
	return err_set(e, "%s: recipes: not there yet", path);
}
