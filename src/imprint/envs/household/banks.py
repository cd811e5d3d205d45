"""Which of the household's families the categories of SkillRL's ALFWorld banks serve."""

# As SkillZero maps them; `pick_two_obj_and_place` has no category of its own there.
BANK_TASKS: dict[str, tuple[str, ...]] = {
    "pick_and_place": ("pick_and_place_simple", "pick_two_obj_and_place"),
    "look_at_obj_in_light": ("look_at_obj_in_light",),
    "examine": ("look_at_obj_in_light",),
    "clean": ("pick_clean_then_place_in_recep",),
    "heat": ("pick_heat_then_place_in_recep",),
    "cool": ("pick_cool_then_place_in_recep",),
}
