"""Drawing of synthetic street scenes; `scene.draw_scene` draws one."""
